//! Formatting of JSON for readers, which changes nothing but white space.
//!
//! The JSON is not parsed: order of the keys, numbers and escapes stay as they were sent.

/// Writes each object or array that is longer than `width` with one line for each member.
pub fn indented(json: &str, width: usize) -> String {
    let marks = marks(&spaced(json));
    let mut text = String::new();
    let mut depth = 0;
    let mut one_line_until = 0;
    let mut at = 0;
    while at < marks.len() {
        let (c, in_string) = marks[at];
        match c {
            '{' | '[' if !in_string && at >= one_line_until => {
                let end = end_of_list(&marks, at);
                text.push(c);
                if end - at + 2 * depth < width {
                    one_line_until = end;
                } else {
                    depth += 1;
                    new_line(&mut text, depth);
                }
            }
            '}' | ']' if !in_string && at >= one_line_until => {
                depth -= 1;
                new_line(&mut text, depth);
                text.push(c);
            }
            ',' if !in_string && at >= one_line_until => {
                text.push(c);
                new_line(&mut text, depth);
                // Skips the space after the comma.
                at += 1;
            }
            _ => text.push(c),
        }
        at += 1;
    }
    text
}

/// Writes the JSON on one line, with a space after each colon and comma and nowhere else.
fn spaced(json: &str) -> String {
    let mut text = String::new();
    for (c, in_string) in marks(json) {
        match c {
            c if in_string => text.push(c),
            ':' | ',' => text.extend([c, ' ']),
            c if c.is_whitespace() => {}
            c => text.push(c),
        }
    }
    text
}

/// Returns each character, and whether it belongs to a string.
fn marks(json: &str) -> Vec<(char, bool)> {
    let (mut in_string, mut escaped) = (false, false);
    let mark = |c| {
        let was_in_string = in_string;
        if c == '"' && !escaped {
            in_string = !in_string;
        }
        escaped = was_in_string && c == '\\' && !escaped;
        (c, in_string || was_in_string)
    };
    json.chars().map(mark).collect()
}

/// The index after the bracket that closes the one at `start`.
fn end_of_list(marks: &[(char, bool)], start: usize) -> usize {
    let mut open = 0;
    for (at, &(c, in_string)) in marks.iter().enumerate().skip(start) {
        match c {
            '{' | '[' if !in_string => open += 1,
            '}' | ']' if !in_string => open -= 1,
            _ => {}
        }
        if open == 0 {
            return at + 1;
        }
    }
    marks.len()
}

fn new_line(text: &mut String, depth: usize) {
    text.push('\n');
    text.extend(std::iter::repeat_n("  ", depth));
}
