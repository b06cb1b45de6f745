//! Pages of ListVolumes.
//!
//! Pages are ordered by the volumes' [`Key`]s, and a token is the last key of the previous page. A
//! token therefore stays valid when volumes come and go between two pages, each volume is listed at
//! most once, a volume that exists throughout is never left out, and a token fits CSI's 128 bytes
//! whatever the ids are.

use crate::error::{Error, ErrorKind, Result};
use crate::model::key::Key;

/// Where a page starts and how long it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    after: Option<Key>,
    limit: usize,
}

impl Page {
    /// Checks `starting_token` and `max_entries` of a request.
    pub(super) fn parse(max_entries: i32, starting_token: &str) -> Result<Self> {
        let limit = match usize::try_from(max_entries) {
            Ok(0) => usize::MAX,
            Ok(limit) => limit,
            Err(_) => {
                return Err(super::request::invalid("max_entries", max_entries, "it is negative")
                    .remedy("give a positive number, or 0 for all"));
            }
        };
        let after = match starting_token {
            "" => None,
            token => Some(Key::parse(token).ok_or_else(|| unknown_token(token))?),
        };
        Ok(Self { after, limit })
    }

    /// The items of this page, and the token for the next one (empty on the last page).
    pub(super) fn take<T>(self, items: Vec<T>, id: impl Fn(&T) -> &str) -> (Vec<T>, String) {
        let mut items: Vec<(Key, T)> =
            items.into_iter().map(|item| (Key::of(id(&item)), item)).collect();
        if let Some(after) = &self.after {
            items.retain(|(key, _)| key > after);
        }
        items.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let more = items.len() > self.limit;
        items.truncate(self.limit);
        let token = match items.last() {
            Some((key, _)) if more => key.to_string(),
            _ => String::new(),
        };
        (items.into_iter().map(|(_, item)| item).collect(), token)
    }
}

/// CSI requires ABORTED for such a token, which tells the caller to start the listing again. The
/// kind of error with that code and that remedy is `InProgress`.
fn unknown_token(token: &str) -> Error {
    let shown = &token[..token.floor_char_boundary(64)];
    Error::new(
        ErrorKind::InProgress,
        "accept",
        format_args!("starting_token {shown:?}"),
        "no call of ListVolumes returned it",
    )
    .remedy("list again with an empty starting_token")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::{btree_set, hash_set};
    use proptest::prelude::*;

    fn page(limit: i32, token: &str, ids: &[String]) -> (Vec<String>, String) {
        Page::parse(limit, token).unwrap().take(ids.to_vec(), |id| id)
    }

    #[test]
    fn bad_requests_are_refused() {
        assert_eq!(Page::parse(-1, "").unwrap_err().kind(), ErrorKind::InvalidArgument);
        for token in ["invalid-token", "0", &"A".repeat(32), &"ü".repeat(100)] {
            assert_eq!(Page::parse(0, token).unwrap_err().kind(), ErrorKind::InProgress);
        }
    }

    #[test]
    fn no_bound_means_one_page() {
        let ids: Vec<String> = (0..100).map(|i| format!("volume-{i}")).collect();
        let (listed, token) = page(0, "", &ids);
        assert_eq!((listed.len(), token.as_str()), (100, ""));
        assert_eq!(page(7, "", &[]), (vec![], String::new()));
    }

    proptest! {
        #[test]
        fn pages_together_list_every_volume_once(
            ids in btree_set("[a-z]{1,8}", 0..40), limit in 1..10,
        ) {
            let ids: Vec<String> = ids.into_iter().collect();
            let (mut listed, mut token) = page(limit, "", &ids);
            while !token.is_empty() {
                prop_assert!(token.len() <= 128);
                let (more, next) = page(limit, &token, &ids);
                prop_assert!(!more.is_empty() && more.len() <= limit as usize);
                listed.extend(more);
                token = next;
            }
            listed.sort();
            prop_assert_eq!(listed, ids);
        }

        #[test]
        fn volumes_that_stay_are_listed_whatever_goes(
            ids in hash_set("[a-z]{1,8}", 3..40), limit in 1..3,
        ) {
            let ids: Vec<String> = ids.into_iter().collect();
            let (first, token) = page(limit, "", &ids);
            let left: Vec<String> = ids.iter().filter(|id| !first.contains(id)).cloned().collect();
            let (mut second, _) = page(0, &token, &left);
            let mut left = left;
            second.sort();
            left.sort();
            prop_assert_eq!(second, left);
        }
    }
}
