//! The arithmetic. Whole histories are counted in `tests/engine/stats.rs`.

use super::*;

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

#[test]
fn periods_begin_where_the_calendar_says() {
    let first = |by: By, text| by.first_day(day(text)).to_string();
    assert_eq!(first(By::Day, "2024-02-29"), "2024-02-29");
    assert_eq!(first(By::Month, "2024-02-29"), "2024-02-01");
    assert_eq!(first(By::Month, "2024-03-01"), "2024-03-01");
    // The week of the new year begins in the old one.
    assert_eq!(first(By::Week, "2025-01-05"), "2024-12-30");
    assert_eq!(first(By::Week, "2025-01-06"), "2025-01-06");
    for by in [By::Day, By::Week, By::Month] {
        assert!(by.first_day(NaiveDate::MIN) <= NaiveDate::MIN);
    }
}

#[test]
fn periods_fit_the_length_of_the_history() {
    let of = |days: i64| By::fitting(days * DAY).name();
    assert_eq!((of(0), of(31), of(32), of(182), of(183)), ("day", "day", "week", "week", "month"));
    assert_eq!((By::fitting(-1).name(), By::fitting(i64::MAX).name()), ("day", "month"));
}

#[test]
fn ages_begin_at_whole_days() {
    let now = Timestamp(1000 * DAY);
    let of = |age: i64| Age::of(Some(Timestamp(now.0 - age)), now).name();
    assert_eq!((of(-5 * DAY), of(0), of(DAY - 1)), ("day", "day", "day"));
    assert_eq!((of(DAY), of(7 * DAY - 1), of(7 * DAY)), ("week", "week", "month"));
    assert_eq!((of(30 * DAY), of(365 * DAY - 1), of(365 * DAY)), ("year", "year", "older"));
    assert_eq!(Age::of(None, now).name(), "unneeded");
    assert_eq!(Age::of(Some(Timestamp(i64::MIN)), Timestamp(i64::MAX)).name(), "older");
}

#[test]
fn parts_never_exceed_the_whole() {
    assert_eq!((part(10, 1, 3), part(10, 3, 3), part(10, 0, 3)), (3, 10, 0));
    assert_eq!((part(10, 5, 0), part(u64::MAX, u64::MAX, u64::MAX)), (10, u64::MAX));
}

#[test]
fn a_rate_needs_a_day() {
    let change = |changes, span| Change { changes, span, ..Change::default() };
    assert_eq!(change(100, DAY - 1).per_day(), None);
    assert_eq!(change(100, 4 * DAY).per_day(), Some(25.0));
    let storage = Storage { plain: 300, batches: 100, index: 7, proofs: 5, ..Storage::default() };
    assert_eq!((storage.ratio(), storage.segments(), storage.total()), (Some(3.0), 107, 112));
    assert_eq!(Storage::default().ratio(), None);
}

#[test]
fn changes_are_counted_by_page() {
    let mut changes = Changes { counts: vec![0; 4], ..Changes::default() };
    [1, 3, 3].into_iter().for_each(|page| changes.add(page));
    assert_eq!(
        (&changes.counts[..], changes.of_size, changes.distinct()),
        (&[0, 1, 0, 2][..], 3, 2)
    );
}
