//! Labels whose values are a closed set.

/// A label. Each value is an index, so that finding its metric takes no lock and no hash.
pub trait Label: Copy + Send + Sync + 'static {
    /// Name of the label.
    const NAME: &'static str;
    /// Every value.
    const VALUES: &'static [&'static str];

    /// Returns the index of the value.
    fn index(self) -> usize;
}

/// One label, or several together.
pub trait Labels: Copy + Send + Sync + 'static {
    /// Number of combinations.
    const COUNT: usize;

    /// Returns the index of a combination.
    fn index(self) -> usize;

    /// Returns the names and values of a combination.
    fn pairs(index: usize) -> Vec<(&'static str, &'static str)>;
}

impl<A: Label> Labels for A {
    const COUNT: usize = A::VALUES.len();

    fn index(self) -> usize {
        Label::index(self)
    }

    fn pairs(index: usize) -> Vec<(&'static str, &'static str)> {
        vec![(A::NAME, A::VALUES[index])]
    }
}

impl<A: Label, B: Labels> Labels for (A, B) {
    const COUNT: usize = A::VALUES.len() * B::COUNT;

    fn index(self) -> usize {
        Label::index(self.0) * B::COUNT + self.1.index()
    }

    fn pairs(index: usize) -> Vec<(&'static str, &'static str)> {
        let mut pairs = A::pairs(index / B::COUNT);
        pairs.extend(B::pairs(index % B::COUNT));
        pairs
    }
}

/// Defines an enum that is a [`Label`]: `labels! { /// … pub(super) enum Result: "result" { Ok = "ok", Failed = "failed" } }`.
macro_rules! labels {
    ($(#[$about:meta])* $visibility:vis enum $name:ident: $label:literal {
        $($(#[$about_value:meta])* $value:ident = $text:literal),+ $(,)?
    }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $visibility enum $name {
            $($(#[$about_value])* $value),+
        }

        impl $crate::metrics::Label for $name {
            const NAME: &'static str = $label;
            const VALUES: &'static [&'static str] = &[$($text),+];

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}
pub(crate) use labels;

#[cfg(test)]
mod tests {
    use super::*;

    labels! {
        enum Colour: "colour" { Red = "red", Blue = "blue" }
    }
    labels! {
        enum Size: "size" { Small = "small", Medium = "medium", Large = "large" }
    }

    #[test]
    fn each_combination_has_an_index_and_its_pairs() {
        assert_eq!(<(Colour, Size)>::COUNT, 6);
        let all =
            [Colour::Red, Colour::Blue].map(|colour| [Size::Small, Size::Medium, Size::Large].map(|of| (colour, of)));
        let indices: Vec<_> = all.iter().flatten().map(|labels| labels.index()).collect();
        assert_eq!(indices, [0, 1, 2, 3, 4, 5]);
        let pairs = <(Colour, Size)>::pairs((Colour::Blue, Size::Medium).index());
        assert_eq!(pairs, [("colour", "blue"), ("size", "medium")]);
    }
}
