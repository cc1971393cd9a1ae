//! Proofs: the stored results of verifications.

use super::handle::{History, Readable, all_read, records_of};
use crate::error::Result;
use crate::format::proof::Proof;
use crate::types::{Seq, WriterToken};

impl History {
    /// The stored verification results, oldest commit first.
    ///
    /// # Errors
    /// Store errors; [`crate::ErrorKind::Damaged`] when one can't be opened.
    pub fn proofs(&self) -> Result<Vec<Proof>> {
        let (found, unread) = self.readable_proofs()?;
        all_read(self, unread).map(|()| found)
    }

    /// The stored verification results that can be read, and errors of the others. What those said
    /// nobody knows.
    ///
    /// # Errors
    /// Store errors.
    pub(crate) fn readable_proofs(&self) -> Result<Readable<Proof>> {
        let names = self.names();
        let (records, unread) = records_of::<Proof, Seq>(
            self,
            &names.proofs(),
            |name| names.parse_proof(name),
            |seq, _, proof| proof.seq == *seq,
        )?;
        let mut found: Vec<Proof> = records.into_iter().map(|(_, proof)| proof).collect();
        found.sort_by_key(|p| (p.seq, p.started));
        Ok((found, unread))
    }

    /// Stores a verification result.
    ///
    /// # Errors
    /// Store errors.
    pub fn add_proof(&self, proof: &Proof) -> Result<()> {
        let token = WriterToken::random()?;
        let name = self.names().proof(proof.seq, proof.started, token);
        self.repository().create_record(&name, token.0, proof)
    }
}
