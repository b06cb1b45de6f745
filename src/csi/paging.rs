//! Pages of ListVolumes and ListSnapshots.
//!
//! Pages are ordered by the volumes' or snapshots' [`Key`]s, and a token is the last key of the previous page. A
//! token therefore stays valid when volumes come and go between two pages, each volume is listed at
//! most once, a volume that exists throughout is never left out, and a token fits CSI's 128 bytes
//! whatever the ids are. What holds for volumes here holds for snapshots.

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

    /// Looks at keys, which are in ascending order, until the page is full: the items that `look` finds, and
    /// the token for the next page (empty on the last one).
    pub(super) fn fill<T>(
        self,
        keys: Vec<Key>,
        mut look: impl FnMut(&Key) -> Result<Option<T>>,
    ) -> Result<(Vec<T>, String)> {
        let mut items = Vec::new();
        let mut last = None;
        for key in
            keys.into_iter().filter(|key| self.after.as_ref().is_none_or(|after| key > after))
        {
            if items.len() == self.limit {
                return Ok((items, last.map_or_else(String::new, |key: Key| key.to_string())));
            }
            items.extend(look(&key)?);
            last = Some(key);
        }
        Ok((items, String::new()))
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
        "no call of this list returned it",
    )
    .remedy("list again with an empty starting_token")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::collection::{btree_set, hash_set};
    use proptest::prelude::*;

    fn page(limit: i32, token: &str, ids: &[String]) -> (Vec<String>, String) {
        let ids: BTreeMap<Key, &String> = ids.iter().map(|id| (Key::of(id), id)).collect();
        let keys = ids.keys().cloned().collect();
        let look = |key: &Key| Ok(Some(ids[key].clone()));
        Page::parse(limit, token).unwrap().fill(keys, look).unwrap()
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

    #[test]
    fn a_page_looks_at_no_more_than_it_shows_and_what_is_gone_does_not_shorten_it() {
        let mut keys: Vec<Key> = (0..9).map(|i| Key::of(&format!("volume-{i}"))).collect();
        keys.sort();
        let mut looked = Vec::new();
        let (items, token) = Page::parse(3, keys[1].as_str())
            .unwrap()
            .fill(keys.clone(), |key| {
                looked.push(key.clone());
                Ok((*key != keys[3]).then(|| key.clone()))
            })
            .unwrap();
        assert_eq!(items, [&keys[2], &keys[4], &keys[5]].map(Clone::clone));
        assert_eq!(looked, keys[2..6]);
        assert_eq!(token, keys[5].as_str());
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
