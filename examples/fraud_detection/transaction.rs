//! What arrives: a payment when it is made, and the verdict on it when it becomes known.
//!
//! Both travel in one topic, because their order matters: a payment must meet exactly the verdicts that were known at its
//! time, after a restart just as before.

use serde::{Deserialize, Serialize};
use streams_core::serde::{Encoded, SerdeError};
use streams_dsl::prelude::*;

/// One payment. Of the places only distances are kept: fraud shows in them, not in the places themselves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Payment {
    pub(crate) id: i64,
    pub(crate) card: i64,
    pub(crate) terminal: i64,
    pub(crate) time_ms: i64,
    pub(crate) amount: f32,
    /// False for a payment from afar (card not present).
    pub(crate) is_card_present: bool,
    /// From the billing address to where the goods go.
    pub(crate) shipping_km: f32,
    /// From the billing address to the terminal; 0 if the card was not present.
    pub(crate) terminal_km: f32,
}

/// What became known of a payment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// Id of the payment.
    pub(crate) id: i64,
    pub(crate) card: i64,
    pub(crate) terminal: i64,
    /// When the payment was made.
    pub(crate) time_ms: i64,
    pub(crate) amount: f32,
    pub(crate) is_fraud: bool,
}

/// A row that is neither payment nor verdict: a dead letter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Malformed {
    pub(crate) row: String,
    pub(crate) reason: String,
}

/// A row of the topic of card events.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// 14 columns: a row of the file without its labels.
    Payment(Payment),
    /// 6 columns: `TRANSACTION_ID,TX_DATETIME,CUSTOMER_ID,TERMINAL_ID,TX_AMOUNT,TX_FRAUD`.
    Verdict(Verdict),
    Malformed(Malformed),
}

impl Data for Malformed {
    type Serde = Json;
}

impl Data for Payment {
    type Serde = Postcard;
}

impl Data for Verdict {
    type Serde = Postcard;
}

impl Data for Event {
    type Serde = Rows;
}

/// Events as rows of comma-separated values. Every row is read: one that is malformed goes its own way in the topology.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rows;

impl Serde<Event> for Rows {
    fn serialize(&self, _event: &Event, _out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        Err(SerdeError::new("rows are only read"))
    }

    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<Event, SerdeError> {
        let bytes = bytes.unwrap_or_default();
        Ok(Event::parse(bytes).unwrap_or_else(|reason| {
            Event::Malformed(Malformed { row: String::from_utf8_lossy(bytes).into_owned(), reason })
        }))
    }
}

/// Columns of a row of the file, and of a payment, which knows no labels.
pub(crate) const COLUMNS: usize = 16;
pub(crate) const PAYMENT_COLUMNS: usize = 14;
pub(crate) const VERDICT_COLUMNS: usize = 6;
const EARTH_RADIUS_KM: f64 = 6371.0;

/// The first line of a file.
pub(crate) const HEADER: &str = "TRANSACTION_ID,TX_DATETIME,CUSTOMER_ID,TERMINAL_ID,TX_AMOUNT,TX_TYPE,TX_SHIPP_LAT,\
    TX_SHIPP_LONG,TX_BILL_LAT,TX_BILL_LONG,TX_TERM_LAT,TX_TERM_LONG,TX_TIME_SECONDS,TX_TIME_DAYS,TX_FRAUD,TX_FRAUD_SCENARIO";

impl Event {
    /// Reads a row. The error says what is wrong with it.
    pub(crate) fn parse(row: &[u8]) -> Result<Event, String> {
        let mut fields: Fields<'_> = [b""; PAYMENT_COLUMNS];
        let mut found = 0;
        let mut rest = Some(row);
        while let Some(row) = rest {
            let comma = row.iter().position(|byte| *byte == b',');
            if let Some(place) = fields.get_mut(found) {
                *place = &row[..comma.unwrap_or(row.len())];
            }
            found += 1;
            rest = comma.map(|at| &row[at + 1..]);
        }
        match found {
            PAYMENT_COLUMNS => payment(&fields).map(Event::Payment),
            VERDICT_COLUMNS => verdict(&fields).map(Event::Verdict),
            _ => Err(format!("{found} columns: a payment has {PAYMENT_COLUMNS}, a verdict {VERDICT_COLUMNS}")),
        }
    }

    pub(crate) fn payment(self) -> Option<Payment> {
        if let Event::Payment(payment) = self { Some(payment) } else { None }
    }

    pub(crate) fn malformed(self) -> Option<Malformed> {
        if let Event::Malformed(malformed) = self { Some(malformed) } else { None }
    }

    pub(crate) fn verdict(self) -> Option<Verdict> {
        if let Event::Verdict(verdict) = self { Some(verdict) } else { None }
    }
}

type Fields<'a> = [&'a [u8]; PAYMENT_COLUMNS];

fn payment(fields: &Fields<'_>) -> Result<Payment, String> {
    let place = |at: usize| Ok::<_, String>((degrees(fields, at)?, degrees(fields, at + 1)?));
    let (billing, terminal) = (place(8)?, place(10)?);
    // Most goods go to where the bill goes: what is written alike need not be read twice.
    let shipping = if fields[6..8] == fields[8..10] { billing } else { place(6)? };
    let is_card_present = match fields[5] {
        b"CP" => true,
        b"CNP" => false,
        other => return Err(format!("TX_TYPE {:?} is neither CP nor CNP", shown(other))),
    };
    // Not used, but a row in which they are no numbers is not to be trusted.
    let _ = (number(fields, 12)?, number(fields, 13)?);
    Ok(Payment {
        id: whole(fields, 0)?,
        time_ms: time_ms(fields[1])?,
        card: whole(fields, 2)?,
        terminal: whole(fields, 3)?,
        amount: amount(fields)?,
        is_card_present,
        shipping_km: kilometres(shipping, billing),
        terminal_km: if is_card_present { kilometres(billing, terminal) } else { 0.0 },
    })
}

fn verdict(fields: &Fields<'_>) -> Result<Verdict, String> {
    Ok(Verdict {
        id: whole(fields, 0)?,
        time_ms: time_ms(fields[1])?,
        card: whole(fields, 2)?,
        terminal: whole(fields, 3)?,
        amount: amount(fields)?,
        is_fraud: match fields[5] {
            b"0" => false,
            b"1" => true,
            other => return Err(format!("TX_FRAUD {:?} is neither 0 nor 1", shown(other))),
        },
    })
}

/// Digits that a `u64` holds for certain.
const DIGITS_MAX: usize = 19;

/// `number` with these digits behind it; `None` if one of them is none. At most [`DIGITS_MAX`] in all.
fn with_digits(number: u64, digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(number, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit <= 9).then(|| number.wrapping_mul(10).wrapping_add(u64::from(digit)))
    })
}

/// A number as files write it, `-12.345`: as long as a `u64` holds its digits. `None` for one that is longer, or written
/// in another way.
fn decimal(text: &[u8]) -> Option<f64> {
    let (sign, unsigned) = text.strip_prefix(b"-").map_or((1.0, text), |rest| (-1.0, rest));
    if unsigned.len() > DIGITS_MAX {
        return None;
    }
    let (whole, decimals) = match unsigned.iter().position(|byte| *byte == b'.') {
        Some(point) => (&unsigned[..point], &unsigned[point + 1..]),
        None => (unsigned, &[][..]),
    };
    let digits = with_digits(with_digits(0, whole)?, decimals)?;
    let is_number = !whole.is_empty() || !decimals.is_empty();
    is_number.then(|| sign * (digits as f64 / POWERS[decimals.len()]))
}

/// What one is divided by for each decimal. Powers of ten up to 10²² have no error.
const POWERS: [f64; DIGITS_MAX + 1] = {
    let mut powers = [1.0; DIGITS_MAX + 1];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = powers[at - 1] * 10.0;
        at += 1;
    }
    powers
};

/// A field that is a number. Most of a row are numbers; the usual ones are read in a fraction of the time that
/// `f64::from_str` takes for all the forms it knows, and differ from it by the last bit at most.
fn number(fields: &Fields<'_>, at: usize) -> Result<f64, String> {
    decimal(fields[at]).map_or_else(|| parsed(fields, at), Ok)
}

/// A field that is a whole number.
fn whole(fields: &Fields<'_>, at: usize) -> Result<i64, String> {
    let digits = fields[at];
    // Ids are short; whatever else a whole number may look like is left to the standard library.
    let short = if (1..DIGITS_MAX).contains(&digits.len()) { with_digits(0, digits) } else { None };
    short.map_or_else(|| parsed(fields, at), |number| Ok(number.cast_signed()))
}

fn parsed<T: std::str::FromStr>(fields: &Fields<'_>, at: usize) -> Result<T, String> {
    let parsed = std::str::from_utf8(fields[at]).ok().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| {
        format!("{} {:?} is no number", HEADER.split(',').nth(at).unwrap_or_default(), shown(fields[at]))
    })
}

fn shown(field: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(field)
}

fn amount(fields: &Fields<'_>) -> Result<f32, String> {
    let amount = number(fields, 4)?;
    // Also false for what is no number.
    if (0.0..=1e9).contains(&amount) { Ok(amount as f32) } else { Err(format!("TX_AMOUNT {amount} is out of range")) }
}

fn degrees(fields: &Fields<'_>, at: usize) -> Result<f64, String> {
    let degrees = number(fields, at)?;
    if degrees.abs() <= 180.0 { Ok(degrees) } else { Err(format!("{degrees} is no latitude or longitude")) }
}

/// Distance on a plane that touches the earth at `from`: exact enough to tell a street from a country.
fn kilometres(from: (f64, f64), to: (f64, f64)) -> f32 {
    if from == to {
        return 0.0;
    }
    let north = (to.0 - from.0).to_radians();
    let east = (to.1 - from.1).to_radians() * from.0.to_radians().cos();
    (north.hypot(east) * EARTH_RADIUS_KM) as f32
}

/// Milliseconds since 1970 of `2025-01-31 23:59:59`, UTC.
fn time_ms(text: &[u8]) -> Result<i64, String> {
    let malformed = || format!("TX_DATETIME {:?} is not of the form 2025-01-31 23:59:59", shown(text));
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, b' ', h0, h1, b':', i0, i1, b':', s0, s1] = *text else {
        return Err(malformed());
    };
    let two = |tens: u8, ones: u8| i64::from(tens - b'0') * 10 + i64::from(ones - b'0');
    if ![y0, y1, y2, y3, m0, m1, d0, d1, h0, h1, i0, i1, s0, s1].iter().all(u8::is_ascii_digit) {
        return Err(malformed());
    }
    let (year, month, day) = (two(y0, y1) * 100 + two(y2, y3), two(m0, m1), two(d0, d1));
    let (hour, minute, second) = (two(h0, h1), two(i0, i1), two(s0, s1));
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 59
    {
        return Err(malformed());
    }
    // Years are counted from March, so that the leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
    Ok((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_milliseconds_since_1970() {
        assert_eq!(time_ms(b"1970-01-01 00:00:00"), Ok(0));
        assert_eq!(time_ms(b"2000-02-29 12:30:05"), Ok(951_827_405_000));
        assert_eq!(time_ms(b"2025-01-01 00:00:13"), Ok(1_735_689_613_000));
        assert!(time_ms(b"2025-13-01 00:00:13").is_err());
        assert!(time_ms(b"2025-01-01T00:00:13").is_err());
        assert!(time_ms("2025-01-0\u{e9}00:00:13".as_bytes()).is_err());
    }

    #[test]
    fn numbers_are_those_of_the_standard_library_to_the_last_bit() {
        let check = |text: &str| {
            let fields = [text.as_bytes(); PAYMENT_COLUMNS];
            let (own, known) = (number(&fields, 0).unwrap(), text.parse::<f64>().unwrap());
            assert!((own - known).abs() <= known.abs() * f64::EPSILON, "{text}: {own} is not {known}");
            assert_eq!(whole(&fields, 0).ok(), text.parse::<i64>().ok(), "{text}");
        };
        for text in
            ["0", "-0", "7.", ".5", "-.25", "57.49", "1e3", "+4", "00012", "123456789012345678", "-9223372036854775808"]
        {
            check(text);
        }
        for text in ["-42.59230258324425", "-4.6702726845740274", "0.000000000000000001", "1234567890123456789.5"] {
            check(text);
        }
        for cents in 0..100_000 {
            check(&format!("{}.{:02}", cents / 100, cents % 100));
        }
    }

    #[test]
    fn a_row_that_is_none_says_why() {
        let row = "1,2025-01-01 00:00:13,154,924,57.49,CNP,1,2,3,4,5,6,13,0";
        assert!(matches!(Event::parse(row.as_bytes()), Ok(Event::Payment(_))));
        for (from, to, expected) in [
            ("57.49", "lots", "TX_AMOUNT \"lots\" is no number"),
            ("57.49", "-1", "TX_AMOUNT -1 is out of range"),
            ("57.49", "NaN", "TX_AMOUNT NaN is out of range"),
            ("57.49", "5.7.4", "TX_AMOUNT \"5.7.4\" is no number"),
            ("57.49", ".", "TX_AMOUNT \".\" is no number"),
            ("57.49", "-", "TX_AMOUNT \"-\" is no number"),
            (",154,", ",154.0,", "CUSTOMER_ID \"154.0\" is no number"),
            (",154,", ",154.,", "CUSTOMER_ID \"154.\" is no number"),
            (",154,", ",9223372036854775808,", "CUSTOMER_ID \"9223372036854775808\" is no number"),
            ("CNP", "POS", "TX_TYPE \"POS\" is neither CP nor CNP"),
            (",154,", ",,", "CUSTOMER_ID \"\" is no number"),
            (",4,", ",400,", "400 is no latitude or longitude"),
            (",1,2,3,4,", ",1,2,3,x,", "TX_BILL_LONG \"x\" is no number"),
            (",1,2,3,4,", ",1,x,1,2,", "TX_SHIPP_LONG \"x\" is no number"),
            (",13,0", "", "12 columns: a payment has 14, a verdict 6"),
        ] {
            assert_eq!(Event::parse(row.replace(from, to).as_bytes()), Err(expected.to_owned()));
        }
    }
}
