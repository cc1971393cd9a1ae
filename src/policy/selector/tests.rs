use super::*;
use crate::policy::clock::written;
use chrono::FixedOffset;
use chrono_tz::{Africa, America, Australia, Europe, Pacific, Tz};

fn now() -> DateTime<FixedOffset> {
    DateTime::parse_from_rfc3339("2026-05-03T10:30:00+02:00").unwrap()
}

fn at(rfc3339: &str) -> Timestamp {
    Timestamp(DateTime::parse_from_rfc3339(rfc3339).unwrap().timestamp_micros())
}

fn time(selector: Selector) -> Timestamp {
    let Selector::Moment(moment) = selector else { panic!("{selector:?}") };
    moment.time
}

#[test]
fn every_form_is_read() {
    let parse = |t| Selector::parse(t, &now()).unwrap();
    assert_eq!(parse("latest"), Selector::Latest(0));
    assert_eq!(parse("latest~3"), Selector::Latest(3));
    assert_eq!(parse("seq:12"), Selector::Seq(Seq(12)));
    assert_eq!(
        (parse(" LATEST~1"), parse("Seq: 12")),
        (Selector::Latest(1), Selector::Seq(Seq(12)))
    );
    for label in ["before migration", "latest-stable", "Chicago", "2026-05-01 nightly", "today's"] {
        assert_eq!(parse(label), Selector::Label(label.into()));
    }
    assert_eq!(parse("label:seq:1"), Selector::Label("seq:1".into()));
    assert_eq!(parse("label: today\u{3000}"), Selector::Label("today".into()));
    for (text, moment) in [
        ("2026-05-01T12:00:00Z", "2026-05-01T12:00:00Z"),
        ("2026-05-01 12:00", "2026-05-01T12:00:00+02:00"),
        ("2026-05-01 12:00 UTC", "2026-05-01T12:00:00Z"),
        ("2026-05-01T12:00+0530", "2026-05-01T12:00:00+05:30"),
        ("2026-05-01 12:00:00.25 -03", "2026-05-01T12:00:00.25-03:00"),
        ("2026-05-01", "2026-05-01T23:59:59.999999+02:00"),
        ("2h ago", "2026-05-03T08:30:00+02:00"),
        ("1h30m Ago", "2026-05-03T09:00:00+02:00"),
        ("1 day 2 hours ago", "2026-05-02T08:30:00+02:00"),
        ("2\u{a0}h\u{a0}ago", "2026-05-03T08:30:00+02:00"),
        ("yesterday 18:00", "2026-05-02T18:00:00+02:00"),
        ("Yesterday  18:00", "2026-05-02T18:00:00+02:00"),
        ("today 09:15:30", "2026-05-03T09:15:30+02:00"),
        // It was today already where clocks show the offset that is named.
        ("today 23:00 -11:00", "2026-05-02T23:00:00-11:00"),
        ("now", "2026-05-03T10:30:00+02:00"),
    ] {
        assert_eq!(time(parse(text)), at(moment), "{text}");
    }
}

#[test]
fn what_begins_like_a_form_and_is_none_is_an_error() {
    for bad in [
        "",
        "  ",
        "latest~",
        "latest~x",
        "seq:",
        "seq:0",
        "seq:-1",
        "label:",
        "label: \u{200b}",
        "soon ago",
        "5 ago",
        "2026-13-01",
        "2026-02-30",
        "2026-05-01T",
        "2026-05-01 12:00 CET",
        "2026-05-01 12:00+1",
        "yesterday 25:00",
        "99999999999999999999d ago",
    ] {
        let e = Selector::parse(bad, &now()).expect_err(bad);
        assert_eq!(
            (e.kind(), e.hint().unwrap().to_string()),
            (ErrorKind::Usage, FORMS.to_owned()),
            "{bad:?}"
        );
    }
}

#[test]
fn labels_that_are_read_as_something_else_are_refused() {
    for label in [
        "latest",
        "LATEST",
        "latest~2",
        "seq:1",
        "seq:0",
        "label:x",
        "today",
        "now",
        "2h ago",
        "yesterday 18:00",
        "2026-05-01",
        "2026-05-01T12:00Z",
        "2026-02-30",
        "long ago",
    ] {
        let e = check_reachable(label).expect_err(label);
        assert_eq!(e.kind(), ErrorKind::Usage, "{label}");
        assert!(e.message().contains("can't be a label"), "{e:?}");
    }
    for label in [
        "before migration",
        "17",
        "18:20",
        "2h",
        "monday",
        "Chicago",
        "latest-stable",
        "before rewind to seq:5",
        "2026-05-01 nightly",
        "a@b",
    ] {
        check_reachable(label).unwrap();
    }
}

#[test]
fn targets_split_at_the_first_at() {
    assert_eq!(split_target("app"), ("app", "latest"));
    assert_eq!(split_target("app@seq:3"), ("app", "seq:3"));
    assert_eq!(split_target("app@a@b"), ("app", "a@b"));
}

/// What a text means in a zone, and how its clocks showed that.
fn read(zone: Tz, text: &str, edge: Edge) -> (String, Reading) {
    let now = at("2026-12-01T00:00:00Z").to_utc().unwrap().with_timezone(&zone);
    let moment = Moment::parse(text, &now, edge).unwrap().unwrap();
    (written(moment.time, &zone), moment.reading)
}

#[test]
fn after_clocks_were_set_back_a_time_means_the_later_of_two_hours() {
    let read = |zone, text| read(zone, text, Edge::End);
    let once = |time: &str| (time.to_owned(), Reading::Once);
    let zurich = Europe::Zurich;
    // The end of the hour that came twice is no part of it.
    assert_eq!(read(zurich, "2026-10-25 03:00"), once("2026-10-25 03:00:00+01:00"));
    assert_eq!(read(zurich, "2026-10-25 01:59:59"), once("2026-10-25 01:59:59+02:00"));
    for (text, earlier) in [
        ("2026-10-25 02:00", "2026-10-25T02:00:00+02:00"),
        ("2026-10-25 02:20", "2026-10-25T02:20:00+02:00"),
        ("2026-10-25 02:59:59.999999", "2026-10-25T02:59:59.999999+02:00"),
    ] {
        let (time, reading) = read(zurich, text);
        assert!(time.ends_with("+01:00") && time.starts_with(text), "{text}: {time}");
        assert_eq!(reading, Reading::Twice(at(earlier)), "{text}");
    }
    let york = America::New_York;
    assert_eq!(read(york, "2026-11-01 02:00"), once("2026-11-01 02:00:00-05:00"));
    assert_eq!(read(york, "2026-11-01 01:30").0, "2026-11-01 01:30:00-05:00");
    // By half an hour.
    assert_eq!(read(Australia::Lord_Howe, "2024-04-07 01:45").0, "2024-04-07 01:45:00+10:30");
    assert_eq!(read(Australia::Lord_Howe, "2024-04-07 02:00"), once("2024-04-07 02:00:00+10:30"));
    // Over midnight: the day ends with its second last hour.
    let sao_paulo = America::Sao_Paulo;
    assert_eq!(read(sao_paulo, "2018-02-17"), once("2018-02-17 23:59:59.999999-03:00"));
    assert_eq!(read(America::St_Johns, "2010-11-06"), once("2010-11-06 23:59:59.999999-03:30"));
}

#[test]
fn a_time_that_never_was_means_what_was_before_the_change() {
    let never = |time: &str| (time.to_owned(), Reading::Never);
    let zurich = Europe::Zurich;
    for text in ["2026-03-29 02:00", "2026-03-29 02:30", "2026-03-29 02:59:59"] {
        assert_eq!(read(zurich, text, Edge::End), never("2026-03-29 01:59:59.999999+01:00"));
        assert_eq!(read(zurich, text, Edge::Begin), never("2026-03-29 03:00:00+02:00"));
    }
    assert_eq!(read(zurich, "2026-03-29 03:00", Edge::End).1, Reading::Once);
    // Samoa crossed the date line: there was no 30 December.
    let apia = Pacific::Apia;
    assert_eq!(read(apia, "2011-12-30", Edge::End), never("2011-12-29 23:59:59.999999-10:00"));
    assert_eq!(read(apia, "2011-12-30 12:00", Edge::Begin), never("2011-12-31 00:00:00+14:00"));
}

#[test]
fn what_follows_a_day_begins_with_its_first_moment() {
    let begin = |zone, text| read(zone, text, Edge::Begin);
    let once = |time: &str| (time.to_owned(), Reading::Once);
    assert_eq!(begin(Europe::Zurich, "2026-10-25"), once("2026-10-25 00:00:00+02:00"));
    // There was no midnight, or there were two.
    assert_eq!(begin(Africa::Cairo, "2023-04-28"), once("2023-04-28 01:00:00+03:00"));
    assert_eq!(begin(America::Havana, "2024-11-03"), once("2024-11-03 00:00:00-04:00"));
    assert_eq!(begin(Europe::Zurich, "2026-10-25 02:20").0, "2026-10-25 02:20:00+02:00");
}

#[test]
fn what_is_not_over_yet_is_the_future() {
    let future = |text: &str| {
        let Selector::Moment(moment) = Selector::parse(text, &now()).unwrap() else { panic!() };
        moment.future
    };
    for text in ["2027-01-01", "2026-05-04", "today 18:20", "2026-05-03T08:30:01Z"] {
        assert!(future(text), "{text}");
    }
    for text in ["today", "2026-05-03", "now", "today 10:30", "2026-05-03T08:30:00Z", "yesterday"] {
        assert!(!future(text), "{text}");
    }
}
