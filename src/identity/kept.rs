//! What others make of a caller and would make again for each of its requests.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// A place for one value that depends on its caller alone. It is not part of who that is: callers are equal whatever is
/// kept with them.
#[derive(Clone, Default)]
pub struct Kept(OnceLock<Arc<dyn Any + Send + Sync>>);

impl Kept {
    /// What is kept, made now if there was nothing; none if it is something of another type.
    pub fn get_or_make<T: Send + Sync + 'static>(&self, make: impl FnOnce() -> T) -> Option<&T> {
        self.0.get_or_init(|| Arc::new(make())).downcast_ref()
    }
}

impl PartialEq for Kept {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Kept {}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_of_one_type() {
        let kept = Kept::default();
        assert_eq!(kept.get_or_make(|| 7), Some(&7));
        assert_eq!(kept.get_or_make(|| 8), Some(&7));
        assert_eq!(kept.get_or_make(|| "eight"), None);
        assert_eq!(kept, Kept::default());
    }
}
