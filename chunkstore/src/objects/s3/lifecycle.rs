//! Does the bucket destroy objects by itself?

use aws_sdk_s3::types::{ExpirationStatus, LifecycleRule, TransitionStorageClass};

use super::S3Store;
use super::failure::Failure;
use crate::objects::probe::ProbeError;
use crate::objects::{ObjectError, ObjectKey};

/// What the bucket's lifecycle rules do to our objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifecycle {
    /// Nothing; and what uploads leave that never end is cleared away.
    KeepsObjects,
    /// Nothing; and parts of uploads that never end stay as well, and are paid for.
    KeepsParts,
    /// The server does not know such rules, or does not let us read them.
    CannotTell,
}

impl S3Store {
    /// Reads the bucket's lifecycle rules. A rule that would delete objects of ours, or move them where they can
    /// no longer be read at once, is [`ProbeError::Expires`].
    pub async fn probe_lifecycle(&self) -> Result<Lifecycle, ProbeError> {
        let read = self.retry.run(|| self.read_lifecycle()).await;
        let rules = match read.map_err(ProbeError::Store)? {
            Ok(rules) => rules,
            Err(lifecycle) => return Ok(lifecycle),
        };
        for rule in &rules {
            if let Some(effect) = effect(rule, &self.connection.prefix) {
                return Err(ProbeError::Expires {
                    rule: rule.id().unwrap_or_default().to_owned(),
                    effect,
                });
            }
        }
        let clears = |rule: &LifecycleRule| {
            rule.abort_incomplete_multipart_upload().is_some()
                && holds_for_all(rule, &self.connection.prefix)
        };
        match rules.iter().any(clears) {
            true => Ok(Lifecycle::KeepsObjects),
            false => Ok(Lifecycle::KeepsParts),
        }
    }

    /// Reads the rules, or what their absence says.
    async fn read_lifecycle(&self) -> Result<Result<Vec<LifecycleRule>, Lifecycle>, ObjectError> {
        let request = self.client().get_bucket_lifecycle_configuration();
        let failure = match request.bucket(self.bucket()).send().await {
            Ok(answer) => return Ok(Ok(answer.rules.unwrap_or_default())),
            Err(error) => Failure::new(error),
        };
        if failure.has_code("NoSuchLifecycleConfiguration") {
            return Ok(Err(Lifecycle::KeepsParts));
        }
        if failure.is_not_offered() {
            return Ok(Err(Lifecycle::CannotTell));
        }
        let key = ObjectKey::parse("forge.json").expect("the text is a key");
        Err(failure.into_error("read the lifecycle rules of the bucket of", &key))
    }
}

/// The prefix of the objects without tags that a rule is for; nothing if there are none.
fn prefix_of(rule: &LifecycleRule) -> Option<&str> {
    let filter = rule.filter();
    let and = filter.and_then(|filter| filter.and());
    let has_tag = filter.is_some_and(|filter| filter.tag().is_some())
        || and.is_some_and(|and| !and.tags().is_empty());
    #[expect(deprecated, reason = "old rules still carry the prefix there")]
    let prefix = filter
        .and_then(|filter| filter.prefix())
        .or_else(|| and.and_then(|and| and.prefix()))
        .or_else(|| rule.prefix())
        .unwrap_or_default();
    let applies = *rule.status() == ExpirationStatus::Enabled && !has_tag;
    applies.then_some(prefix)
}

/// Whether a rule is for all objects under a prefix.
fn holds_for_all(rule: &LifecycleRule, ours: &str) -> bool {
    prefix_of(rule).is_some_and(|prefix| ours.starts_with(prefix))
}

/// What a rule would do to objects under a prefix that carry no tags; nothing if it leaves them alone.
fn effect(rule: &LifecycleRule, ours: &str) -> Option<&'static str> {
    prefix_of(rule).filter(|prefix| prefix.starts_with(ours) || ours.starts_with(prefix))?;
    let expires = rule
        .expiration()
        .is_some_and(|expiration| expiration.days().is_some() || expiration.date().is_some());
    let archives = rule.transitions().iter().any(|transition| {
        matches!(
            transition.storage_class(),
            Some(TransitionStorageClass::Glacier | TransitionStorageClass::DeepArchive)
        )
    });
    match (expires, archives) {
        (true, _) => Some("deletes objects"),
        (false, true) => Some("moves objects to an archive class"),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::types::{
        AbortIncompleteMultipartUpload, LifecycleExpiration, LifecycleRuleFilter, Tag, Transition,
    };

    use super::*;

    fn rule(filter: LifecycleRuleFilter) -> aws_sdk_s3::types::builders::LifecycleRuleBuilder {
        LifecycleRule::builder()
            .filter(filter)
            .status(ExpirationStatus::Enabled)
    }

    fn prefix(text: &str) -> LifecycleRuleFilter {
        LifecycleRuleFilter::builder().prefix(text).build()
    }

    #[test]
    fn only_rules_that_reach_our_objects_count() {
        let days = LifecycleExpiration::builder().days(30).build();
        let expiring = |filter| rule(filter).expiration(days.clone()).build().unwrap();
        assert!(effect(&expiring(prefix("")), "forge/").is_some());
        assert!(effect(&expiring(prefix("forge/repos")), "forge/").is_some());
        assert!(effect(&expiring(prefix("for")), "forge/").is_some());
        assert!(effect(&expiring(prefix("logs/")), "forge/").is_none());
        assert!(effect(&expiring(prefix("logs/")), "").is_some());
        let tag = Tag::builder().key("k").value("v").build().unwrap();
        let tagged = LifecycleRuleFilter::builder().tag(tag).build();
        assert!(effect(&expiring(tagged), "").is_none());
        let off = rule(prefix("")).expiration(days.clone());
        let off = off.status(ExpirationStatus::Disabled).build().unwrap();
        assert!(effect(&off, "").is_none());
    }

    #[test]
    fn clearing_away_incomplete_uploads_is_welcome_and_archiving_is_not() {
        let days = AbortIncompleteMultipartUpload::builder().days_after_initiation(3);
        let abort = rule(prefix("")).abort_incomplete_multipart_upload(days.build());
        let abort = abort.build().unwrap();
        assert!(effect(&abort, "").is_none());
        assert!(holds_for_all(&abort, "forge/"));
        let of_others = rule(prefix("forge/repos")).build().unwrap();
        assert!(!holds_for_all(&of_others, "forge/"));
        let glacier = Transition::builder().storage_class(TransitionStorageClass::Glacier);
        let archive = rule(prefix(""))
            .transitions(glacier.build())
            .build()
            .unwrap();
        assert!(effect(&archive, "").is_some());
        let infrequent = Transition::builder().storage_class(TransitionStorageClass::StandardIa);
        let cheaper = rule(prefix(""))
            .transitions(infrequent.build())
            .build()
            .unwrap();
        assert!(effect(&cheaper, "").is_none());
    }
}
