//! The time of a line, in whatever form a log has it.

/// A time as a line has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Milliseconds since 1970, the wall clock read as if it were UTC.
    pub at: i64,
    /// Minutes east of UTC, where the line tells.
    pub zone: Option<i32>,
    /// Its first byte in the text.
    pub begin: usize,
    /// The first byte after it.
    pub end: usize,
    /// The line has no year, it was taken from elsewhere.
    pub yearless: bool,
}

/// A day, for times that have no year: year and month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Today {
    /// The year.
    pub year: i64,
    /// Its month, from 1 on.
    pub month: i64,
}

const DAY: i64 = 86_400_000;
const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// The day's number since 1970 of a date of the common calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month, day, hour, minute, second and millisecond of a time.
pub fn civil(at: i64) -> [i64; 7] {
    let (number, rest) = (at.div_euclid(DAY) + 719_468, at.rem_euclid(DAY));
    let era = number.div_euclid(146_097);
    let of_era = number.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (rest / 3_600_000, rest / 60_000 % 60);
    [
        year,
        month,
        day,
        hour,
        minute,
        rest / 1_000 % 60,
        rest % 1_000,
    ]
}

/// So many digits from `at` on.
fn number(text: &[u8], at: usize, digits: usize) -> Option<i64> {
    let found = text.get(at..at + digits)?;
    found.iter().try_fold(0, |number, byte| {
        byte.is_ascii_digit()
            .then(|| number * 10 + i64::from(byte - b'0'))
    })
}

/// `15:38:09` in milliseconds.
fn time(text: &[u8], at: usize) -> Option<i64> {
    if *text.get(at + 2)? != b':' || *text.get(at + 5)? != b':' {
        return None;
    }
    let (hour, minute) = (number(text, at, 2)?, number(text, at + 3, 2)?);
    let second = number(text, at + 6, 2)?;
    (hour < 24 && minute < 60 && second <= 60)
        .then_some(((hour * 60 + minute) * 60 + second) * 1_000)
}

/// A time with its date that begins at `begin`: `2022-08-30 15:38:09`, with a `T`, with parts of a second, with a
/// zone behind it.
fn full(text: &[u8], begin: usize) -> Option<Stamp> {
    let (year, month) = (number(text, begin, 4)?, number(text, begin + 5, 2)?);
    let day = number(text, begin + 8, 2)?;
    let is_date = |at: usize| matches!(text.get(begin + at), Some(b'-' | b'/'));
    if !is_date(4) || !is_date(7) || !matches!(text.get(begin + 10)?, b' ' | b'T') {
        return None;
    }
    if !(1970..3000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let mut at = days(year, month, day) * DAY + time(text, begin + 11)?;
    let mut end = begin + 19;
    if matches!(text.get(end), Some(b'.' | b',')) {
        let digits = text[end + 1..]
            .iter()
            .take_while(|it| it.is_ascii_digit())
            .count();
        if digits > 0 {
            let kept = digits.min(3);
            let scale = [1, 100, 10, 1][kept];
            at += number(text, end + 1, kept)? * scale;
            end += 1 + digits;
        }
    }
    let (zone, end) = zone(text, end);
    Some(Stamp {
        at,
        zone,
        begin,
        end,
        yearless: false,
    })
}

/// `Z`, `+08`, `+0800`, `+08:00`, ` UTC`, and other names, which do not tell how far they are from UTC: `CST` is
/// China's and Chicago's.
fn zone(text: &[u8], end: usize) -> (Option<i32>, usize) {
    let rest = text.get(end..).unwrap_or_default();
    let blank = usize::from(rest.first() == Some(&b' '));
    let rest = &rest[blank..];
    match rest.first() {
        Some(b'Z') if blank == 0 => (Some(0), end + 1),
        Some(sign @ (b'+' | b'-')) => {
            let Some(hours) = number(rest, 1, 2) else {
                return (None, end);
            };
            let colon = usize::from(rest.get(3) == Some(&b':'));
            let (minutes, length) = match number(rest, 3 + colon, 2) {
                Some(minutes) => (minutes, 5 + colon),
                None => (0, 3),
            };
            let east = i32::try_from(hours * 60 + minutes).unwrap_or(0);
            let east = if *sign == b'-' { -east } else { east };
            (Some(east), end + blank + length)
        }
        Some(b'A'..=b'Z') if blank == 1 => {
            let length = rest.iter().take_while(|it| it.is_ascii_uppercase()).count();
            // `LOG:` is a level.
            let ends = !matches!(
                rest.get(length),
                Some(b':' | b'_' | b'a'..=b'z' | b'0'..=b'9')
            );
            match &rest[..length] {
                b"UTC" | b"GMT" if ends => (Some(0), end + 1 + length),
                _ if ends && (2..=5).contains(&length) => (None, end + 1 + length),
                _ => (None, end),
            }
        }
        _ => (None, end),
    }
}

/// `Dec 25 15:23:48`, as syslog has it.
fn syslog(text: &[u8], begin: usize, today: Today) -> Option<Stamp> {
    let month = text.get(begin..begin + 3)?;
    let month = MONTHS.iter().position(|it| *it == month)? + 1;
    let month = i64::try_from(month).ok()?;
    let day = match (text.get(begin + 3)?, text.get(begin + 4)?) {
        (b' ', b' ') => number(text, begin + 5, 1)?,
        (b' ', _) => number(text, begin + 4, 2)?,
        _ => return None,
    };
    if text.get(begin + 6)? != &b' ' || !(1..=31).contains(&day) {
        return None;
    }
    // The file's last line is not later than the file.
    let year = today.year - i64::from(month > today.month);
    Some(Stamp {
        at: days(year, month, day) * DAY + time(text, begin + 7)?,
        zone: None,
        begin,
        end: begin + 15,
        yearless: true,
    })
}

/// The time that a line begins with; blanks and dashes may stand before it.
pub fn leading(text: &[u8]) -> Option<Stamp> {
    let begin = text
        .iter()
        .position(|it| !matches!(it, b' ' | b'-' | b'<' | b'['))?;
    full(text, begin)
}

/// The time of a line by all that stands before its level. Of several the one with a zone counts, else the last: a
/// log that was collected by another program has that one's time before its own.
pub fn in_prefix(prefix: &[u8], today: Today) -> Option<Stamp> {
    let (mut best, mut at) = (None::<Stamp>, 0);
    while at + 15 <= prefix.len() {
        let found = match prefix[at] {
            b'1'..=b'2' if at == 0 || !prefix[at - 1].is_ascii_digit() => full(prefix, at),
            b'A'..=b'S' => syslog(prefix, at, today),
            _ => None,
        };
        match found {
            Some(stamp) => {
                at = stamp.end.max(at + 1);
                let keeps = best.is_some_and(|it| it.zone.is_some() || stamp.yearless);
                if !keeps || stamp.zone.is_some() {
                    best = Some(stamp);
                }
            }
            None => at += 1,
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: Today = Today {
        year: 2022,
        month: 9,
    };

    #[test]
    fn a_time_is_read_in_each_of_its_forms() {
        let at = 1_661_873_889_000;
        for (text, ms, zone) in [
            ("2022-08-30 15:38:09: pid 17612: ", 0, None),
            ("2022-08-30 15:38:09.123: watchdog pid 1: ", 123, None),
            ("2022-08-30 15:38:09,12 ", 120, None),
            ("< 2022-08-30 15:38:09.123 CST >", 123, None),
            ("2022-08-30 15:38:09.123 UTC [12] ", 123, Some(0)),
            ("2022-08-30 15:38:09 GMT LOG", 0, Some(0)),
            ("2022-08-30T15:38:09.123456789Z ", 123, Some(0)),
            ("2022-08-30T15:38:09+08:00 h ", 0, Some(480)),
            ("2022-08-30 15:38:09-0330 ", 0, Some(-210)),
            ("2022-08-30 15:38:09+08 ", 0, Some(480)),
            ("Aug 30 15:38:09 bak pgpool[12]: [1-1] ", 0, None),
            (
                "Aug 30 15:38:10 bak [1-1] 2022-08-30 15:38:09: pid 1: ",
                0,
                None,
            ),
            (
                "2022-08-30T15:38:09Z 2022-08-30 23:38:11: pid 1: ",
                0,
                Some(0),
            ),
        ] {
            let stamp = in_prefix(text.as_bytes(), TODAY);
            let found = stamp.map(|it| (it.at, it.zone));
            assert_eq!(found, Some((at + ms, zone)), "{text}");
        }
        for text in [
            "",
            "2022-13-30 15:38:09",
            "2022-08-30 25:38:09",
            "Aug 30",
            "x",
        ] {
            assert_eq!(in_prefix(text.as_bytes(), TODAY), None, "{text}");
        }
        let last_year = in_prefix(b"Dec 25 15:23:48 bak ", TODAY).unwrap();
        assert_eq!(civil(last_year.at)[..3], [2021, 12, 25]);
    }

    #[test]
    fn a_time_and_its_date_are_the_same() {
        for year in [1970, 1999, 2000, 2024, 2100] {
            for (month, day) in [(1, 1), (2, 28), (3, 1), (12, 31)] {
                let at = days(year, month, day) * DAY + 3_661_007;
                assert_eq!(civil(at), [year, month, day, 1, 1, 1, 7]);
            }
        }
    }
}
