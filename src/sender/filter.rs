//! Filters: which jsonpath conditions an endpoint may have.
//!
//! A condition is evaluated in the transaction of another user, so it must end soon, whatever the
//! data is. PostgreSQL checks for interrupts at each step of a path, but not while it compares
//! each value of one side with each of the other. Therefore one side of a comparison is a literal,
//! and everything that visits a value more than once per step is refused.

use std::fmt;

/// Methods that return one value for one value, in a time that does not depend on the rest. Those
/// for times are not among them: what they can read depends on PostgreSQL's version, and the times
/// of events compare as texts.
const METHODS: [&str; 12] = [
    "abs", "bigint", "boolean", "ceiling", "decimal", "double", "floor", "integer", "number", "size", "string", "type",
];

/// Maximum number of keys in the data.
const MAX_KEYS: usize = 10_000;

/// Why a jsonpath cannot be a filter.
#[derive(Debug, PartialEq, Eq)]
pub enum InvalidFilter {
    /// It returns a value, not true or false.
    NotACondition,
    /// A comparison of two paths.
    NeedsALiteral,
    /// `.**`, whose steps visit a value many times.
    AnyDepth,
    /// A range, a list or an expression as a subscript.
    Subscript,
    /// A condition in `?()` that begins with `$`.
    RootInCondition,
    /// A method that is not one of those that can be used.
    Method(String),
    /// Another variable than `$event`.
    Variable(String),
    /// A regular expression: matching may take any time.
    RegularExpression,
    /// Anything else, such as arithmetic: what follows there.
    Unsupported(String),
}

impl fmt::Display for InvalidFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotACondition => f.write_str("it must be a condition, which is true or false"),
            Self::NeedsALiteral => f.write_str("one side of a comparison must be a literal"),
            Self::AnyDepth => f.write_str(".** is not supported"),
            Self::Subscript => f.write_str("a subscript must be a number, last or *, and a field is written $.name"),
            Self::RootInCondition => f.write_str("a condition in ?() must begin with @, not with $"),
            Self::Method(name) => write!(f, "method {name}() is not supported"),
            Self::Variable(name) => write!(f, "${name} is not a variable, only $event is"),
            Self::RegularExpression => {
                f.write_str("like_regex needs flag \"q\" or \"iq\", with which the text is searched as it is")
            }
            Self::Unsupported(rest) => write!(f, "not supported: {rest}"),
        }
    }
}

impl std::error::Error for InvalidFilter {}

/// Checks a jsonpath in the form in which PostgreSQL displays it.
pub fn check_filter(path: &str) -> Result<(), InvalidFilter> {
    let mut parser = Parser { rest: path.strip_prefix("strict ").unwrap_or(path), depth: 0 };
    parser.condition()?;
    if parser.rest.is_empty() { Ok(()) } else { Err(parser.unsupported()) }
}

/// Whether this JSON text must not become a jsonb, which PostgreSQL does without checking for
/// interrupts: it stores all digits of a number, so that with exponents of three digits a thousand
/// bytes become a hundred megabytes; and it sorts the keys of an object, in a time that can grow
/// with the square of their number.
pub fn is_costly_as_jsonb(json: &[u8]) -> bool {
    let mut keys = 0;
    let mut is_string = false;
    let mut rest = json;
    let mut last = b' ';
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            b'"' => is_string = !is_string,
            b'\\' => rest = rest.get(1..).unwrap_or_default(),
            b':' if !is_string => {
                keys += 1;
                if keys > MAX_KEYS {
                    return true;
                }
            }
            b'e' | b'E' if !is_string && last.is_ascii_digit() => {
                let digits = rest.strip_prefix(b"-").or(rest.strip_prefix(b"+")).unwrap_or(rest);
                if digits.iter().take_while(|digit| digit.is_ascii_digit()).count() > 2 {
                    return true;
                }
            }
            _ => {}
        }
        last = *byte;
    }
    false
}

/// A side of a comparison.
#[derive(PartialEq, Eq)]
enum Operand {
    Path,
    Literal,
}

struct Parser<'a> {
    rest: &'a str,
    /// The number of `?()` around this place.
    depth: usize,
}

type Checked<T = ()> = Result<T, InvalidFilter>;

impl<'a> Parser<'a> {
    fn unsupported(&self) -> InvalidFilter {
        InvalidFilter::Unsupported(self.rest.chars().take(40).collect())
    }

    fn takes(&mut self, text: &str) -> bool {
        let after = self.rest.strip_prefix(text);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn expect(&mut self, text: &str) -> Checked {
        if self.takes(text) { Ok(()) } else { Err(self.unsupported()) }
    }

    /// Conditions with `&&` and `||`. Which of these binds closer does not matter here.
    fn condition(&mut self) -> Checked {
        loop {
            if self.takes("!(") {
                self.condition()?;
                self.expect(")")?;
            } else if self.takes("exists (") {
                self.operand()?;
                self.expect(")")?;
            } else if self.takes("(") {
                self.condition()?;
                self.expect(")")?;
                self.takes(" is unknown");
            } else {
                self.comparison()?;
            }
            if !self.takes(" && ") && !self.takes(" || ") {
                return Ok(());
            }
        }
    }

    fn comparison(&mut self) -> Checked {
        let left = self.operand()?;
        if self.takes(" like_regex ") {
            self.string()?;
            let flags = if self.takes(" flag ") { self.string()? } else { "" };
            return if flags.contains('q') { Ok(()) } else { Err(InvalidFilter::RegularExpression) };
        }
        let operators = [" == ", " != ", " <= ", " >= ", " < ", " > ", " starts with "];
        if !operators.iter().any(|operator| self.takes(operator)) {
            let is_end = self.rest.is_empty() || self.rest.starts_with([')', '&', '|']);
            return Err(if is_end { InvalidFilter::NotACondition } else { self.unsupported() });
        }
        let right = self.operand()?;
        if [left, right] == [Operand::Path, Operand::Path] { Err(InvalidFilter::NeedsALiteral) } else { Ok(()) }
    }

    fn operand(&mut self) -> Checked<Operand> {
        if self.rest.starts_with("$\"") {
            self.takes("$");
            return match self.string()? {
                "event" => Ok(Operand::Literal),
                other => Err(InvalidFilter::Variable(other.to_owned())),
            };
        }
        let is_path = self.rest.starts_with(['$', '@']);
        if is_path {
            if self.depth > 0 && self.rest.starts_with('$') {
                return Err(InvalidFilter::RootInCondition);
            }
            self.rest = &self.rest[1..];
        } else {
            self.literal()?;
        }
        while self.accessor(is_path)? {}
        Ok(if is_path { Operand::Path } else { Operand::Literal })
    }

    /// A step of a path; a literal may have methods only.
    fn accessor(&mut self, is_path: bool) -> Checked<bool> {
        if self.rest.starts_with(".**") {
            return Err(InvalidFilter::AnyDepth);
        }
        if is_path && self.rest.starts_with(".\"") {
            self.takes(".");
            self.string()?;
        } else if is_path && self.takes("[") {
            self.subscript()?;
        } else if is_path && self.takes("?(") {
            self.depth += 1;
            self.condition()?;
            self.depth -= 1;
            self.expect(")")?;
        } else if is_path && self.takes(".*") {
        } else if self.takes(".") {
            let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest.len());
            let (name, rest) = self.rest.split_at(end);
            if !METHODS.contains(&name) || !rest.starts_with("()") {
                return Err(InvalidFilter::Method(name.to_owned()));
            }
            self.rest = &rest["()".len()..];
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn subscript(&mut self) -> Checked {
        if !self.takes("*") && !self.takes("last") {
            self.rest = self.rest.trim_start_matches(|c: char| c.is_ascii_digit());
        }
        if self.takes("]") { Ok(()) } else { Err(InvalidFilter::Subscript) }
    }

    fn literal(&mut self) -> Checked {
        if self.rest.starts_with('"') {
            return self.string().map(drop);
        }
        if ["true", "false", "null"].iter().any(|word| self.takes(word)) {
            return Ok(());
        }
        let number = self.rest.strip_prefix('-').unwrap_or(self.rest);
        let digits = number.trim_start_matches(|c: char| c.is_ascii_digit());
        if digits.len() == number.len() {
            return Err(self.unsupported());
        }
        let fraction = digits.strip_prefix('.').filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        self.rest = fraction.map_or(digits, |rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
        Ok(())
    }

    /// A JSON string; returns what is between its quotes.
    fn string(&mut self) -> Checked<&'a str> {
        self.expect("\"")?;
        let mut is_escaped = false;
        let end = self.rest.find(|c| {
            let is_end = c == '"' && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            is_end
        });
        let Some(end) = end else { return Err(self.unsupported()) };
        let (content, rest) = self.rest.split_at(end);
        self.rest = &rest[1..];
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_of_paths_and_literals_are_accepted() {
        for path in [
            r#"($."total_car_count" > 50 && $."location_name" == "North \"Lot\"")"#,
            r#"(-5.5 < $."a" || !($."b" == true))"#,
            r#"exists ($."entries"[*]?(@."car_count" > 20 && @."type" == null))"#,
            r#"strict ($."a"[0] == 1)"#,
            r#"(($."a" > 1 && ($."b" > 1 || $."c"[last] > 1)) && $."d".*."e" != 1.50)"#,
            r#"(($."a" > 1) is unknown || $"event" == $."type")"#,
            r#"($."m" like_regex "urgent" flag "iq")"#,
            r#"($."m" starts with "x" && $."a".size() > 3)"#,
            r#"($."t" > "2026-01-01" && $."a".double() > 1)"#,
            r#"($."a"?(@ > 1)?(exists (@."b"?(@ == 2)))."c" == "\\")"#,
            "!(exists ($))",
            r#"($"event" != "submission.created" || $."a" == 1)"#,
        ] {
            assert_eq!(check_filter(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn large_exponents_of_numbers_and_many_keys_are_found() {
        for (json, is_large) in [
            (r#"{"n": 1e100}"#, true),
            (r#"{"n": [1.5E+1000]}"#, true),
            (r#"{"a\\": 1e-100}"#, true),
            ("1e100", true),
            (r#"{"n": 1e99, "t": true}"#, false),
            (r#"{"id": "7e123456-0e11-4111-8111-1e1111111111", "b": "\" 1e100"}"#, false),
            ("", false),
        ] {
            assert_eq!(is_costly_as_jsonb(json.as_bytes()), is_large, "{json}");
        }
        let keys = |number| format!("{{{}}}", vec![r#"":":1"#; number].join(","));
        assert_eq!([10_000, 10_001].map(|number| is_costly_as_jsonb(keys(number).as_bytes())), [false, true]);
    }

    #[test]
    fn everything_else_is_refused_with_its_reason() {
        use InvalidFilter::*;
        for (path, reason) in [
            (r#"$."a""#, NotACondition),
            ("true", NotACondition),
            (r#"$."a"?(@ > 1)"#, NotACondition),
            (r#"($."a" == 1 && $."b")"#, NotACondition),
            (r#"($."a" == $."b")"#, NeedsALiteral),
            ("($.** == 1)", AnyDepth),
            (r#"($.**{2}."a" == 1)"#, AnyDepth),
            (r#"($."a"[0,1] == 1)"#, Subscript),
            (r#"($."a"[0 to last] == 1)"#, Subscript),
            (r#"($."a"[last - 1] == 1)"#, Subscript),
            (r#"($."a"[$."b"] == 1)"#, Subscript),
            (r#"exists ($."a"[*]?($."b" == 1))"#, RootInCondition),
            (r#"($."a".keyvalue()."key" == "x")"#, Method("keyvalue".into())),
            (r#"($."a".datetime() == 1)"#, Method("datetime".into())),
            (r#"($"limit" == $."a")"#, Variable("limit".into())),
            (r#"($."m" like_regex "(a+)+")"#, RegularExpression),
            (r#"($."m" like_regex "(a+)+" flag "i")"#, RegularExpression),
            (r#"($."a" + 1 > 2)"#, Unsupported(" + 1 > 2)".into())),
            (r#"(-$."a" == 1)"#, Unsupported(r#"-$."a" == 1)"#.into())),
            (r#"($."a" > 1 && "x"#, Unsupported("x".into())),
        ] {
            assert_eq!(check_filter(path), Err(reason), "{path}");
        }
    }
}
