use super::*;
use chrono::DateTime;
use chrono_tz::Tz;

pub(super) fn at(rfc3339: &str) -> Timestamp {
    Timestamp(DateTime::parse_from_rfc3339(rfc3339).unwrap().timestamp_micros())
}

fn schedule(text: &str) -> Schedule {
    Schedule::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// The next moments, as clocks of the zone show them.
fn shown(text: &str, zone: Tz, after: &str, n: usize) -> Vec<String> {
    let times = schedule(text).upcoming(at(after), &Zone::Named(zone), n);
    let show = |time: Timestamp| {
        let time = time.to_utc().unwrap().with_timezone(&zone);
        time.format("%m-%d %H:%M:%S %:z").to_string().replace(":00 ", " ")
    };
    times.into_iter().map(show).collect()
}

#[test]
fn schedules_are_described_in_plain_language() {
    for (text, words) in [
        ("daily at 03:00", "every day at 03:00"),
        ("every day at 3:05", "every day at 03:05"),
        ("0 3 * * *", "every day at 03:00"),
        ("@daily", "every day at 00:00"),
        ("@hourly", "every hour"),
        ("@weekly", "Sundays at 00:00"),
        ("@monthly", "on the 1st of every month at 00:00"),
        ("@yearly", "on the 1st of January at 00:00"),
        ("30 22 * * mon-fri", "Mondays to Fridays at 22:30"),
        ("Mon-Fri at 22:30", "Mondays to Fridays at 22:30"),
        ("weekdays at 22:30", "Mondays to Fridays at 22:30"),
        ("weekends at 12:00", "Saturdays and Sundays at 12:00"),
        ("Monday to Friday at 22:30", "Mondays to Fridays at 22:30"),
        ("mon,thu at 22:30", "Mondays and Thursdays at 22:30"),
        ("every sunday and wednesdays at 7:00", "Wednesdays and Sundays at 07:00"),
        ("0 7 * * sat-sun", "Saturdays and Sundays at 07:00"),
        ("0 3,15 * * *", "every day at 03:00 and 15:00"),
        ("0,30 8-10 * * *", "every day at 08:00, 08:30, 09:00, 09:30, 10:00 and 10:30"),
        ("0 8-18 * * 1-5", "every hour from 08:00 to 18:00, Mondays to Fridays"),
        ("*/15 * * * *", "every 15 minutes"),
        ("*/15 2 * * *", "every day at 02:00, 02:15, 02:30 and 02:45"),
        ("*/5 2 * * *", "every 5 minutes from 02:00 to 02:55"),
        ("*/15 9-17 * * mon", "every 15 minutes from 09:00 to 17:45, Mondays"),
        ("*/7 * * * *", "at the minutes 0, 7, 14, 21, 28, 35, 42, 49 and 56 of every hour"),
        ("5 * * * *", "at minute 5 of every hour"),
        ("0 */6 * * *", "every day at 00:00, 06:00, 12:00 and 18:00"),
        ("10 */2 * * *", "every 2 hours from 00:10 on"),
        ("10 1-23/2 * * *", "every 2 hours from 01:10 on"),
        ("10 2-16/2 * * *", "at minute 10 in the hours 02, 04, 06, 08, 10, 12, 14 and 16"),
        ("* * * * *", "every minute"),
        ("* 2 * * *", "every minute from 02:00 to 02:59"),
        ("0 0 1,15 * *", "on the 1st and 15th of every month at 00:00"),
        ("0 0 2-4 jan,jul *", "on the 2nd, 3rd and 4th of January and July at 00:00"),
        ("0 0 * feb *", "every day in February at 00:00"),
        ("0 0 13 * fri", "on the 13th of every month and also Fridays at 00:00"),
        ("0 0 13 * +fri", "on the 13th of every month, if that is one of the Fridays, at 00:00"),
        ("0 4 l * *", "on the last day of the month at 04:00"),
        ("0 4 * * friL", "on the last Friday of the month at 04:00"),
        ("0 4 * * mon#1", "on the 1st Monday of the month at 04:00"),
        ("0 4 15w jan *", "on the weekday nearest day 15, in January at 04:00"),
        ("every 15m", "every 15 minutes"),
        ("every 1h30m", "every 90 minutes"),
        ("every 90 sec", "every 90 seconds"),
        ("every 1 day", "every day"),
        ("EVERY 2W", "every 2 weeks"),
    ] {
        assert_eq!(schedule(text).describe(), words, "{text}");
        assert_eq!(schedule(&format!(" {text}\n")).to_string(), text);
        assert_eq!(text.parse::<Schedule>().unwrap(), schedule(text));
    }
}

#[test]
fn an_error_quotes_the_text_and_names_what_is_wrong() {
    for (text, why) in [
        ("", "is empty"),
        ("   ", "is empty"),
        ("soon", "is no schedule"),
        ("15m", "is a span of time alone"),
        ("every", "has no span of time"),
        ("every now and then", "has no span of time"),
        ("every 15M", "has no span of time"),
        ("every 30s", "comes more often than once a minute"),
        ("every 0m", "comes more often than once a minute"),
        ("every 53w", "comes less often than once in 366 days"),
        ("every 99999999999999999999d", "has no span of time"),
        ("every 9223372036854775807w", "has no span of time"),
        ("daily at noon", "has no time of day"),
        ("daily at 25:00", "has no time of day"),
        ("daily at 03:00:30", "has no time of day"),
        ("daily at 03:00+01:00", "has no time of day"),
        ("daily at ", "is no schedule"),
        ("often at 03:00", "names no days"),
        (", at 03:00", "names no days"),
        ("mon-wed-fri at 03:00", "names no days"),
        ("fri-mon at 03:00", "its day of the week is \"fri-mon\""),
        ("60 * * * *", "its minute is \"60\", and can be 0 to 59"),
        ("0 24 * * *", "its hour is \"24\", and can be 0 to 23"),
        ("0 mon * * *", "its hour is \"mon\""),
        ("0 0 0 * *", "its day of the month is \"0\", and can be 1 to 31, or L for the last"),
        ("0 0 feb * *", "its day of the month is \"feb\""),
        ("0 0 1 13 *", "its month is \"13\", and can be 1 to 12, or jan to dec"),
        ("0 0 1 janfeb *", "its month is \"janfeb\""),
        ("0 0 1 1feb *", "its month is \"1feb\""),
        ("0 0 1 january *", "its month is \"january\""),
        ("0 0 * * jan", "its day of the week is \"jan\""),
        ("0 0 * * mon1", "its day of the week is \"mon1\""),
        ("0 0 * * montue", "its day of the week is \"montue\""),
        ("0 0 * * 8", "its day of the week is \"8\""),
        ("0 0 * * 5-1", "its day of the week is \"5-1\""),
        ("0 0 * * mon#6", "its day of the week is \"mon#6\""),
        ("0 0 * * l", "never comes"),
        (", * * * *", "its minute is \",\", a list with nothing between its commas"),
        ("1,,2 * * * *", "its minute is \"1,,2\", a list"),
        ("*/0 * * * *", "its minute is \"*/0\""),
        ("*/90 * * * *", "its minute is \"*/90\", whose step of 90 is never taken"),
        ("0 */48 * * *", "its hour is \"*/48\", whose step of 48 is never taken"),
        ("5/10 * * * *", "its minute is \"5/10\""),
        ("-5 * * * *", "its minute is \"-5\""),
        ("0 0 30 2 *", "never comes"),
        ("0 0 31 feb,apr,jun,sep,nov *", "never comes"),
        ("* * * *", "is no schedule"),
        ("0 0 3 * * *", "has 6 fields; seconds and years are not written"),
        ("0 0 3 * * * 2026", "has 7 fields; seconds and years are not written"),
        ("@reboot", "is no schedule"),
        ("@daily *", "is no schedule"),
        ("ü ü ü ü ü", "its minute is \"ü\""),
    ] {
        let error = Schedule::parse(text).expect_err(text);
        assert_eq!(error.kind(), ErrorKind::Usage, "{text}");
        assert_eq!(error.object().unwrap(), format!("{:?}", text.trim()));
        let hint = error.hint().map(ToString::to_string).unwrap_or_default();
        assert!(!hint.is_empty(), "{text}: {error}");
        let said = format!("{error}; {hint}");
        assert!(said.contains(why), "{text}: {said}");
    }
    for (text, hint) in [
        ("*/90 * * * *", "for elapsed time write \"every 90m\""),
        ("0 */48 * * *", "for elapsed time write \"every 48h\""),
        ("15 min", "write \"every 15 min\""),
    ] {
        let error = Schedule::parse(text).unwrap_err();
        assert_eq!(error.hint().unwrap().to_string(), hint);
    }
    let endless = "1,".repeat(100_000);
    let error = Schedule::parse(&endless).unwrap_err();
    assert!(error.to_string().contains("longer than 256 bytes") && error.to_string().len() < 200);
}

#[test]
fn a_time_of_day_that_clocks_leave_out_comes_once_after_the_change() {
    let berlin = Tz::Europe__Berlin;
    // At 02:00 clocks went on to 03:00.
    let daily = shown("30 2 * * *", berlin, "2026-03-28T00:00:00Z", 3);
    assert_eq!(daily, ["03-28 02:30 +01:00", "03-29 03:00 +02:00", "03-30 02:30 +02:00"]);
    // 02:00 and 03:00 are one moment then, and one run.
    let twice = shown("0 2,3 * * *", berlin, "2026-03-28T12:00:00Z", 2);
    assert_eq!(twice, ["03-29 03:00 +02:00", "03-30 02:00 +02:00"]);
    let listed = shown("5,10 2 * * *", berlin, "2026-03-28T12:00:00Z", 2);
    assert_eq!(listed, ["03-29 03:00 +02:00", "03-30 02:05 +02:00"]);
    // A quarter of an hour within one hour: the hour as a whole is made up for once.
    let within = shown("*/15 2 * * *", berlin, "2026-03-28T12:00:00Z", 2);
    assert_eq!(within, ["03-29 03:00 +02:00", "03-30 02:00 +02:00"]);
    let hourly = shown("30 * * * *", berlin, "2026-03-29T00:00:00Z", 3);
    assert_eq!(hourly, ["03-29 01:30 +01:00", "03-29 03:30 +02:00", "03-29 04:30 +02:00"]);
    // Midnight is left out.
    let midnight = shown("0 0 * * *", Tz::America__Sao_Paulo, "2018-11-03T12:00:00Z", 2);
    assert_eq!(midnight, ["11-04 01:00 -02:00", "11-05 00:00 -02:00"]);
    let six = shown("0 */6 * * *", Tz::America__Sao_Paulo, "2018-11-03T21:00:00Z", 3);
    assert_eq!(six, ["11-04 01:00 -02:00", "11-04 06:00 -02:00", "11-04 12:00 -02:00"]);
}

#[test]
fn a_time_of_day_that_clocks_show_twice_comes_at_the_first() {
    let berlin = Tz::Europe__Berlin;
    // At 03:00 clocks went back to 02:00.
    let daily = shown("30 2 * * *", berlin, "2026-10-24T12:00:00Z", 2);
    assert_eq!(daily, ["10-25 02:30 +02:00", "10-26 02:30 +01:00"]);
    let asked_within = shown("30 2 * * *", berlin, "2026-10-25T01:10:00Z", 1);
    assert_eq!(asked_within, ["10-26 02:30 +01:00"]);
    // The hours in words do not repeat, and the hour as `*` does.
    let listed = shown("30 1,2,3 * * *", berlin, "2026-10-24T22:00:00Z", 4);
    assert_eq!(
        listed,
        ["10-25 01:30 +02:00", "10-25 02:30 +02:00", "10-25 03:30 +01:00", "10-26 01:30 +01:00"]
    );
    let hourly = shown("30 * * * *", berlin, "2026-10-24T23:00:00Z", 4);
    assert_eq!(
        hourly,
        ["10-25 01:30 +02:00", "10-25 02:30 +02:00", "10-25 02:30 +01:00", "10-25 03:30 +01:00"]
    );
    let within = shown("*/30 2 * * *", berlin, "2026-10-24T12:00:00Z", 5);
    let october = ["02:00 +02:00", "02:30 +02:00", "02:00 +01:00", "02:30 +01:00"];
    assert_eq!(within[..4], october.map(|time| format!("10-25 {time}")));
    assert_eq!(within[4], "10-26 02:00 +01:00");
}

#[test]
fn a_day_that_a_zone_skipped_is_made_up_for_once() {
    // Samoa had no 30 December 2011.
    let apia = Tz::Pacific__Apia;
    let daily = shown("30 9 * * *", apia, "2011-12-29T00:00:00Z", 3);
    assert_eq!(daily, ["12-29 09:30 -10:00", "12-31 00:00 +14:00", "12-31 09:30 +14:00"]);
    let that_day = shown("30 9 30 12 *", apia, "2011-06-01T00:00:00Z", 2);
    assert_eq!(that_day, ["12-31 00:00 +14:00", "12-30 09:30 +14:00"]);
    let hourly = shown("0 * * * *", apia, "2011-12-30T09:00:00Z", 2);
    assert_eq!(hourly, ["12-31 00:00 +14:00", "12-31 01:00 +14:00"]);
    // Half of an hour is left out, and shown twice.
    let howe = Tz::Australia__Lord_Howe;
    let left_out = shown("15 2 * * *", howe, "2026-10-03T00:00:00Z", 2);
    assert_eq!(left_out, ["10-04 02:30 +11:00", "10-05 02:15 +11:00"]);
    let twice = shown("45 1 * * *", howe, "2026-04-04T00:00:00Z", 2);
    assert_eq!(twice, ["04-05 01:45 +11:00", "04-06 01:45 +10:30"]);
}

#[test]
fn every_counts_elapsed_time_whatever_clocks_show_and_whenever_it_is_asked() {
    let hours = shown("every 2h", Tz::Europe__Berlin, "2026-10-24T22:30:00Z", 3);
    assert_eq!(hours, ["10-25 02:00 +02:00", "10-25 03:00 +01:00", "10-25 05:00 +01:00"]);
    let every = schedule("every 15m").anchored("app");
    let first = every.next(at("2026-11-27T07:00:00Z"), &Zone::Utc).unwrap();
    assert_eq!(first.0 % 1_000_000, 0);
    for asked in 0..900 {
        let asked = Timestamp(first.0 - 1_000_000 * asked - 1);
        assert_eq!(every.next(asked, &Zone::Utc), Some(first));
    }
    assert_eq!(every.next(first, &Zone::Utc), Some(Timestamp(first.0 + 15 * MINUTE)));
    assert_eq!(every.last(first, &Zone::Utc), Some(first));
    // Names spread, and a cron schedule stays where it was put.
    let names = ["app", "shop", "users", "mail", "logs", "queue"];
    let mut firsts = names.map(|name| {
        schedule("every 1d").anchored(name).next(at("2026-11-27T00:00:00Z"), &Zone::Utc)
    });
    firsts.sort_unstable();
    assert!(firsts.windows(2).all(|two| two[0] != two[1]));
    assert_eq!(schedule("@daily").anchored("app"), schedule("@daily"));
}

#[test]
fn the_last_moment_is_the_one_that_next_gives() {
    let zone = Zone::Named(Tz::Europe__Berlin);
    for text in ["* * * * *", "30 2 * * *", "*/15 2 * * *", "0 0 29 2 *", "* * * 1 *", "every 7d"] {
        let schedule = schedule(text);
        let times = schedule.upcoming(at("2026-03-28T23:00:00Z"), &zone, 30);
        for two in times.windows(2) {
            for moment in [two[0].0, two[0].0 + 1, two[1].0 - 1] {
                assert_eq!(schedule.last(Timestamp(moment), &zone), Some(two[0]), "{text}");
            }
        }
    }
    // A century without a leap day, and the rarest of all.
    let leap = schedule("0 0 29 2 *").last(at("2104-02-28T00:00:00Z"), &Zone::Utc);
    assert_eq!(leap, Some(at("2096-02-29T00:00:00Z")));
    let rarest = schedule("0 0 29 2 +mon");
    assert_eq!(
        rarest.upcoming(at("2068-01-01T00:00:00Z"), &Zone::Utc, 3),
        ["2072-02-29T00:00:00Z", "2112-02-29T00:00:00Z", "2140-02-29T00:00:00Z"].map(at)
    );
}

#[test]
fn the_ends_of_time_have_no_next_and_no_panic() {
    for text in ["* * * * *", "30 2 * * *", "*/15 2 * * *", "0 0 l * *", "every 1m", "every 366d"] {
        let schedule = schedule(text);
        for zone in [Zone::Utc, Zone::Local, Zone::Named(Tz::Pacific__Apia)] {
            for end in [i64::MIN, i64::MAX] {
                for away in [0, 1, 1000, 86_400_000_000, 1 << 40, 1 << 50] {
                    let moment = Timestamp(if end < 0 { end + away } else { end - away });
                    assert!(schedule.next(moment, &zone).is_none_or(|next| next > moment));
                    assert!(schedule.last(moment, &zone).is_none_or(|last| last <= moment));
                }
            }
        }
    }
    let years = schedule("0 0 1 1 *").next(at("4999-06-01T00:00:00Z"), &Zone::Utc);
    assert_eq!(years, Some(at("5000-01-01T00:00:00Z")));
}
