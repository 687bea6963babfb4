//! Names of nodes, stores and internal topics: Kafka Streams' own, from one counter.
//!
//! A name is `PREFIX` and ten digits. A name that the user gives takes the place of the generated one, but the counter
//! moves all the same; so naming one operator does not shift the names of the others.

use super::Graph;

pub(crate) const SOURCE: &str = "KSTREAM-SOURCE-";
pub(crate) const SINK: &str = "KSTREAM-SINK-";
pub(crate) const FILTER: &str = "KSTREAM-FILTER-";
pub(crate) const REPARTITION_SUFFIX: &str = "-repartition";
const STATE_STORE: &str = "STATE-STORE-";

/// Longest name that Kafka allows for a topic, and so for everything a topic is named after.
const LENGTH_MAX: usize = 249;

/// A name that the user may have given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Given(pub(crate) Option<String>);

impl Given {
    /// The given name, or a generated one. Advances the counter in both cases.
    pub(crate) fn or_generate(&self, graph: &mut Graph, prefix: &str) -> String {
        let generated = graph.new_name(prefix);
        match &self.0 {
            Some(name) => {
                graph.check_name(name);
                name.clone()
            }
            None => generated,
        }
    }

    /// The given name with `suffix`, or a generated one. Advances the counter in both cases.
    pub(crate) fn suffixed_or_generate(&self, graph: &mut Graph, suffix: &str, prefix: &str) -> String {
        let generated = graph.new_name(prefix);
        match &self.0 {
            Some(name) => {
                let name = format!("{name}{suffix}");
                graph.check_name(&name);
                name
            }
            None => generated,
        }
    }

    /// The given name with `suffix`, or `other`.
    pub(crate) fn suffixed_or(&self, suffix: &str, other: &str) -> String {
        match &self.0 {
            Some(name) => format!("{name}{suffix}"),
            None => other.to_owned(),
        }
    }
}

impl Graph {
    /// The next generated name.
    pub(crate) fn new_name(&mut self, prefix: &str) -> String {
        let name = format!("{prefix}{:010}", self.next_index);
        self.next_index += 1;
        name
    }

    /// The next generated name of a store.
    pub(crate) fn new_store_name(&mut self, prefix: &str) -> String {
        self.new_name(&format!("{prefix}{STATE_STORE}"))
    }

    /// Refuses a name that could not be part of a topic's name.
    pub(crate) fn check_name(&mut self, name: &str) {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let violation = match name {
            "" => "a name must not be empty".to_owned(),
            "." | ".." => format!("{name:?} cannot be a name"),
            _ if name.len() > LENGTH_MAX => {
                format!("the name {name:?} has {} characters; at most {LENGTH_MAX} are allowed", name.len())
            }
            _ if !name.chars().all(legal) => {
                format!("the name {name:?} may hold only ASCII letters, digits, '.', '_' and '-'")
            }
            _ => return,
        };
        self.refuse(violation);
    }
}

/// True for names like `KSTREAM-AGGREGATE-0000000003`: a repartition topic called so has sink, filter and source with
/// generated names of their own; after any other name they are called after the topic.
pub(crate) fn is_generated_stream_name(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("KSTREAM") else { return false };
    let digits = rest.len().saturating_sub(10);
    rest.is_char_boundary(digits)
        && rest[..digits].ends_with('-')
        && rest.len() - digits == 10
        && rest[digits..].bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_name_advances_the_counter_like_a_generated_one() {
        let mut graph = Graph::new();
        assert_eq!(Given(Some("words".into())).or_generate(&mut graph, SOURCE), "words");
        assert_eq!(Given(None).or_generate(&mut graph, FILTER), "KSTREAM-FILTER-0000000001");
        assert_eq!(graph.new_store_name("KSTREAM-AGGREGATE-"), "KSTREAM-AGGREGATE-STATE-STORE-0000000002");
    }

    #[test]
    fn generated_names_of_streams_are_recognised() {
        for (name, expected) in [
            ("KSTREAM-AGGREGATE-STATE-STORE-0000000003", true),
            ("KSTREAM-KEY-SELECT-0000000001", true),
            ("COGROUPKSTREAM-AGGREGATE-STATE-STORE-0000000003", false),
            ("KTABLE-AGGREGATE-STATE-STORE-0000000003", false),
            ("KSTREAM-000000003", false),
            ("KSTREAM0000000003", false),
            ("KSTREAM-x0000000003", false),
            ("words", false),
        ] {
            assert_eq!(is_generated_stream_name(name), expected, "{name}");
        }
    }

    #[test]
    fn names_that_no_topic_could_have_are_refused() {
        for (name, legal) in [("a.b_c-D9", true), ("", false), ("..", false), ("a b", false), ("ä", false)] {
            let mut graph = Graph::new();
            graph.check_name(name);
            assert_eq!(graph.violations.is_empty(), legal, "{name:?}");
        }
        let mut graph = Graph::new();
        graph.check_name(&"x".repeat(250));
        assert_eq!(graph.violations.len(), 1);
    }
}
