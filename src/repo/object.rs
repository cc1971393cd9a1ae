//! How objects are sealed, opened and published as records.

use super::repository::Repository;
use crate::codec::seal::{SealKey, TAG_LEN};
use crate::error::{Error, ErrorKind, Result};
use crate::format::record::Record;
use crate::format::slot::MasterKey;
use crate::format::{Header, ObjectKind, SealedPrefix, limits};
use crate::store::Created;

impl Repository {
    /// The whole object that holds a sealed body: prefix and seal. A reader has to know the
    /// `required` features.
    pub(crate) fn seal_object(
        &self,
        name: &str,
        (kind, required): (ObjectKind, u16),
        object: [u8; 16],
        body: &[u8],
        master: &MasterKey,
    ) -> Result<Vec<u8>> {
        let body_len = u32::try_from(body.len() + TAG_LEN)
            .map_err(|_| Error::new(ErrorKind::Failure, "has too long a body").with_object(name))?;
        let header = Header { required, ..Header::new(kind) };
        let prefix = SealedPrefix { header, key: master.id, object, body_len };
        let mut bytes = prefix.encode();
        let key = SealKey::for_object(master, self.0.id, kind, &object);
        let sealed =
            key.seal(&[&bytes, &self.0.id.0, name.as_bytes()], body).map_err(|e| e.of(name))?;
        bytes.extend_from_slice(&sealed);
        Ok(bytes)
    }

    /// Opens the body behind a prefix. `bytes` begin with the prefix and hold at least the body.
    pub(crate) fn open_object(
        &self,
        name: &str,
        prefix: &SealedPrefix,
        bytes: &[u8],
    ) -> Result<Vec<u8>> {
        let master = self.master(prefix.key, name)?;
        let truncated = || Error::damaged(name, "ends too early");
        let (front, rest) = bytes.split_at_checked(SealedPrefix::LEN).ok_or_else(truncated)?;
        let len = usize::try_from(prefix.body_len).map_err(|_| truncated())?;
        let mut sealed = rest.get(..len).ok_or_else(truncated)?.to_vec();
        let key = SealKey::for_object(&master, self.0.id, prefix.header.kind, &prefix.object);
        let bound = [front, &self.0.id.0, name.as_bytes()];
        key.open_in_place(&bound, &mut sealed).map_err(|e| e.of(name))?;
        Ok(sealed.split_off(TAG_LEN))
    }

    /// Publishes a small record under a name that nobody has.
    pub(crate) fn create_record<R: Record>(
        &self,
        name: &str,
        object: [u8; 16],
        record: &R,
    ) -> Result<()> {
        let (kind, body) = ((R::KIND, record.required()), record.encode());
        let bytes = self.seal_object(name, kind, object, &body, &self.newest_key()?)?;
        match self.store().create(name, &bytes)? {
            Created::New => Ok(()),
            Created::Exists => {
                Err(Error::new(ErrorKind::Busy, "was created by somebody else").with_object(name))
            }
        }
    }

    /// Reads and opens a small record, if it is there.
    pub(crate) fn read_record<R: Record>(&self, name: &str) -> Result<Option<(SealedPrefix, R)>> {
        self.read_record_at(name, name)
    }

    /// As [`Repository::read_record`], of one that was sealed under another name than it lies
    /// under: in the quarantine.
    pub(crate) fn read_record_at<R: Record>(
        &self,
        at: &str,
        name: &str,
    ) -> Result<Option<(SealedPrefix, R)>> {
        // Whatever follows belongs to nothing.
        let longest = limits::RECORD_BODY + SealedPrefix::LEN;
        let Some(bytes) = self.store().get_range(at, 0, longest)? else { return Ok(None) };
        let as_what = (R::KIND, limits::RECORD_BODY);
        let prefix = self.prefix_of(name, as_what, &bytes, |_| Ok(bytes.clone()))?;
        let body = self.open_object(name, &prefix, &bytes)?;
        let record = R::decode_as(prefix.header.required, &body).map_err(|e| e.of(name))?;
        Ok(Some((prefix, record)))
    }
}
