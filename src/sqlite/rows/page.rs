//! The pages of SQLite's trees, as bytes: what kind a page is, where its cells are, and where they
//! lead.
//!
//! Invariant: a page is input like any other. What lies outside of it is `None` or zero, and never
//! a panic.

use crate::sqlite::layout::number;

/// The kinds of pages of trees, by their first byte.
pub(super) const INDEX_INTERIOR: u8 = 2;
pub(super) const TABLE_INTERIOR: u8 = 5;
pub(super) const INDEX_LEAF: u8 = 10;
pub(super) const TABLE_LEAF: u8 = 13;

/// Where the header of a tree's page begins.
pub(super) fn header(page: u32) -> usize {
    if page == 1 { 100 } else { 0 }
}

/// The first byte of a tree's page.
pub(super) fn kind(content: &[u8], page: u32) -> u8 {
    content.get(header(page)).copied().unwrap_or(0)
}

/// A number of two bytes; zero behind the page's end.
pub(super) fn short(content: &[u8], at: usize) -> usize {
    let bytes = content.get(at..).and_then(|bytes| bytes.first_chunk());
    bytes.map_or(0, |bytes| usize::from(u16::from_be_bytes(*bytes)))
}

/// Where the cells of a tree's page are; `None` if that is outside of the page.
pub(super) fn cells(content: &[u8], page: u32) -> Option<Vec<usize>> {
    let at = header(page);
    let is_interior = matches!(kind(content, page), INDEX_INTERIOR | TABLE_INTERIOR);
    let first = at + if is_interior { 12 } else { 8 };
    let count = short(content, at + 3);
    if first + count * 2 > content.len() {
        return None;
    }
    Some((0..count).map(|i| short(content, first + i * 2)).collect())
}

/// The pages that an interior page leads to, in order.
pub(super) fn children(content: &[u8], page: u32) -> Option<Vec<u32>> {
    let mut children: Vec<u32> =
        cells(content, page)?.into_iter().map(|cell| number(content, cell)).collect();
    children.push(number(content, header(page) + 8));
    Some(children)
}

/// The first page that an interior page leads to.
pub(super) fn first_child(content: &[u8], page: u32) -> Option<u32> {
    let at = header(page);
    Some(match short(content, at + 3) {
        0 => number(content, at + 8),
        _ => number(content, short(content, at + 12)),
    })
    .filter(|child| *child > 0)
}

/// The page that an interior page of a table leads to for a rowid, with the largest rowid of the
/// page before that one, and its own largest one: `None` at the ends.
pub(super) fn child_of(content: &[u8], page: u32, rowid: i64) -> Option<(u32, [Option<i64>; 2])> {
    let at = header(page);
    if kind(content, page) != TABLE_INTERIOR {
        return None;
    }
    let count = short(content, at + 3);
    let cell = |i: usize| short(content, at + 12 + i * 2);
    let key = |i: usize| varint(content, cell(i) + 4).map(|(key, _)| key);
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        match key(middle)? < rowid {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    let before = match low.checked_sub(1) {
        Some(before) => Some(key(before)?),
        None => None,
    };
    Some(match low < count {
        true => (number(content, cell(low)), [before, Some(key(low)?)]),
        false => (number(content, at + 8), [before, None]),
    })
}

/// The pages that an interior page of a table leads to, with the rowids that each stands for.
pub(super) fn parts(
    content: &[u8],
    page: u32,
    (first, last): (i64, i64),
) -> Option<Vec<(u32, (i64, i64))>> {
    if kind(content, page) != TABLE_INTERIOR {
        return None;
    }
    let mut parts = Vec::new();
    let mut from = first;
    for cell in cells(content, page)? {
        let (key, _) = varint(content, cell + 4)?;
        // SQLite finds nothing in a tree whose keys do not ascend.
        if key < from.saturating_sub(1) {
            return None;
        }
        parts.push((number(content, cell), (from, key.min(last))));
        from = key.checked_add(1)?;
    }
    parts.push((number(content, header(page) + 8), (from, last)));
    Some(parts)
}

/// The rowid of the first cell of a table's page.
pub(super) fn rowid_of(content: &[u8], page: u32) -> Option<i64> {
    let cell = *cells(content, page)?.first()?;
    let at = match kind(content, page) {
        TABLE_INTERIOR => cell + 4,
        _ => varint(content, cell)?.1,
    };
    varint(content, at).map(|(rowid, _)| rowid)
}

/// A number of SQLite's of one to nine bytes, and where the next one begins.
pub(super) fn varint(content: &[u8], at: usize) -> Option<(i64, usize)> {
    let mut value: u64 = 0;
    for i in 0..8 {
        let byte = *content.get(at + i)?;
        value = (value << 7) | u64::from(byte & 0x7f);
        if byte < 0x80 {
            return Some((value.cast_signed(), at + i + 1));
        }
    }
    let byte = *content.get(at + 8)?;
    Some((((value << 8) | u64::from(byte)).cast_signed(), at + 9))
}

/// The first overflow page of each cell that has some, and how many it has.
pub(super) fn overflows(content: &[u8], page: u32, usable: usize) -> Vec<(u32, usize)> {
    let (is_leaf, is_index) = match kind(content, page) {
        TABLE_LEAF => (true, false),
        INDEX_LEAF => (true, true),
        INDEX_INTERIOR => (false, true),
        _ => return Vec::new(),
    };
    let overflow = |cell: usize| {
        let (len, at) = varint(content, if is_leaf { cell } else { cell + 4 })?;
        let at = if is_index { at } else { varint(content, at)?.1 };
        let len = usize::try_from(len).ok()?;
        let local = local_len(len, usable, is_index).filter(|local| *local < len)?;
        let first = number(content, at + local);
        Some((first, (len - local).div_ceil(usable - 4)))
    };
    cells(content, page).unwrap_or_default().into_iter().filter_map(overflow).collect()
}

/// How much of a record of some length lies in its own page, the rest in overflow pages; `None` if
/// pages are too small for any.
pub(super) fn local_len(len: usize, usable: usize, is_index: bool) -> Option<usize> {
    let (room, of_index) = (usable.checked_sub(35)?, usable.checked_sub(12)?);
    let least = (of_index * 32 / 255).checked_sub(23)?;
    let most = if is_index { of_index * 64 / 255 - 23 } else { room };
    if len <= most {
        return Some(len);
    }
    let spill = least + (len - least) % (usable - 4);
    Some(if spill <= most { spill } else { least })
}

/// What lies on an index's page of the record of one of its cells, counted from zero.
pub(super) fn key_at(content: &[u8], page: u32, usable: usize, cell: usize) -> Option<&[u8]> {
    let begin = match kind(content, page) {
        INDEX_LEAF => 8,
        INDEX_INTERIOR => 12,
        _ => return None,
    };
    let at = header(page);
    if cell >= short(content, at + 3) {
        return None;
    }
    let place = short(content, at + begin + cell * 2);
    let (len, at) = varint(content, if begin == 8 { place } else { place + 4 })?;
    let local = local_len(usize::try_from(len).ok()?, usable, true)?;
    content.get(at..at.checked_add(local)?)
}
