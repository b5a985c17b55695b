//! Choosing among certificates by the name that a client asks for (SNI, RFC 6066 §3).

use crate::config::certificate::Certificate;

/// The first certificate for `name` that is `usable`; the first usable one of all when none is.
pub(super) fn choose(
    certificates: &[Certificate],
    name: Option<&str>,
    usable: impl Fn(usize) -> bool,
) -> Option<usize> {
    let name = name.map(str::to_lowercase);
    let fits = |n: &usize| {
        name.as_ref()
            .is_some_and(|name| certificates[*n].is_for(name))
    };
    let mut all = (0..certificates.len()).filter(|n| usable(*n));
    all.clone().find(fits).or_else(|| all.next())
}
