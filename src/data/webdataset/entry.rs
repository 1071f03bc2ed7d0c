//! A sample as the shards hold it: where its members lie.

use crate::data::PictureError;
use crate::data::extensions::Role;

/// One key of one shard and where its members lie.
#[derive(Debug)]
pub(super) struct Entry {
    pub shard: usize,
    pub key: String,
    pub members: Vec<Member>,
}

/// A member's extension, in lower case, and its bytes in its shard.
#[derive(Debug)]
pub(super) struct Member {
    pub extension: String,
    pub role: Role,
    pub offset: u64,
    pub len: u64,
}

impl Entry {
    pub(super) fn picture(&self) -> std::result::Result<&Member, PictureError> {
        let of = |role| self.members.iter().find(|member| member.role == role);
        match (of(Role::Picture), of(Role::Unread)) {
            (Some(picture), _) => Ok(picture),
            (None, Some(other)) => Err(PictureError::new(
                "format",
                format!("expected PNG, JPEG or WebP, got a member .{}", other.extension),
            )),
            (None, None) if self.members.is_empty() => Err(PictureError::new(
                "dotted-name",
                "a key ends at the first dot of a member's name, as in WebDataset: expected names with one dot, or the \
                 extension that follows the first dot in data.extensions",
            )),
            (None, None) => Err(PictureError::new("no-picture", "expected a picture member (png, jpg or webp)")),
        }
    }
}
