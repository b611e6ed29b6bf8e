//! Failing at the n-th call: an [`ObjectStore`] that counts every call and breaks one of them.
//!
//! Whoever runs an operation once with [`FaultPlan::count_only`], and then again with a fault before and after
//! each of the calls that were counted, has seen it cut off everywhere.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::objects::{
    ObjectBody, ObjectError, ObjectKey, ObjectMeta, ObjectStore, ObjectUpload, SignedAddress,
};

/// What a call to a store does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// [`ObjectStore::get`]; its body belongs to the same call.
    Get,
    /// [`ObjectStore::head`].
    Head,
    /// [`ObjectStore::create`] and [`ObjectStore::create_stamped`].
    Create,
    /// [`ObjectStore::overwrite`].
    Overwrite,
    /// [`ObjectStore::upload`].
    Upload,
    /// [`ObjectUpload::write`].
    Write,
    /// [`ObjectUpload::complete`].
    Complete,
    /// [`ObjectUpload::abort`].
    Abort,
    /// [`ObjectStore::list`].
    List,
    /// [`ObjectStore::delete`].
    Delete,
}

/// One call that a store got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What it does.
    pub operation: Operation,
    /// The key, or the prefix of a list.
    pub key: String,
}

/// Where a call breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Break {
    /// It has no effect.
    BeforeEffect,
    /// It has its effect, and the caller is told that it failed. The body of a `get` breaks off after its
    /// first piece.
    AfterEffect,
}

/// Which call is to fail, and what was called so far.
#[derive(Debug)]
pub struct FaultPlan {
    fault: Option<(usize, Break)>,
    calls: Mutex<Vec<Call>>,
    yields: bool,
}

impl FaultPlan {
    /// Breaks nothing.
    pub fn count_only() -> Arc<Self> {
        Arc::new(Self {
            fault: None,
            calls: Mutex::default(),
            yields: false,
        })
    }

    /// Breaks nothing, and is pending once before and once after the effect of each call, so that a caller can be
    /// dropped there.
    pub fn yielding() -> Arc<Self> {
        Arc::new(Self {
            fault: None,
            calls: Mutex::default(),
            yields: true,
        })
    }

    /// Breaks the call with this number, counted from 0, and no other.
    pub fn fail_at(number: usize, at: Break) -> Arc<Self> {
        Arc::new(Self {
            fault: Some((number, at)),
            calls: Mutex::default(),
            yields: false,
        })
    }

    /// The calls so far, in the order in which they began.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().clone()
    }

    /// How many calls there were so far.
    pub fn count(&self) -> usize {
        self.calls.lock().len()
    }

    /// Whether the call that is to fail has come.
    pub fn has_struck(&self) -> bool {
        self.fault.is_some_and(|(number, _)| self.count() > number)
    }

    async fn pause(&self) {
        if self.yields {
            tokio::task::yield_now().await;
        }
    }

    fn enter(&self, operation: Operation, key: &str) -> Option<Break> {
        let mut calls = self.calls.lock();
        let number = calls.len();
        calls.push(Call {
            operation,
            key: key.to_owned(),
        });
        self.fault
            .filter(|(at, _)| *at == number)
            .map(|(_, kind)| kind)
    }
}

/// A store that counts the calls to another and breaks the one that its [`FaultPlan`] names.
#[derive(Debug, Clone)]
pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    plan: Arc<FaultPlan>,
}

#[derive(Debug)]
struct FaultyUpload {
    inner: Box<dyn ObjectUpload>,
    key: ObjectKey,
    plan: Arc<FaultPlan>,
}

impl FaultyStore {
    /// Puts a plan in front of a store.
    pub fn new(inner: Arc<dyn ObjectStore>, plan: Arc<FaultPlan>) -> Self {
        Self { inner, plan }
    }
}

/// Runs one call, broken or not.
async fn run<T>(
    plan: &FaultPlan,
    operation: Operation,
    key: &ObjectKey,
    call: impl Future<Output = Result<T, ObjectError>>,
) -> Result<T, ObjectError> {
    match plan.enter(operation, key.as_str()) {
        None => {
            plan.pause().await;
            let answer = call.await;
            plan.pause().await;
            answer
        }
        Some(Break::BeforeEffect) => Err(injected(key)),
        Some(Break::AfterEffect) => {
            // Whatever the answer was, it gets lost.
            drop(call.await);
            Err(injected(key))
        }
    }
}

fn injected(key: &ObjectKey) -> ObjectError {
    ObjectError::Failed {
        action: "reach",
        key: key.clone(),
        source: "a fault that the test asked for".into(),
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for FaultyStore {
    async fn get(
        &self,
        key: &ObjectKey,
        range: Option<Range<u64>>,
    ) -> Result<ObjectBody, ObjectError> {
        let strike = self.plan.enter(Operation::Get, key.as_str());
        if strike == Some(Break::BeforeEffect) {
            return Err(injected(key));
        }
        self.plan.pause().await;
        let mut body = match self.inner.get(key, range).await {
            Err(_) if strike.is_some() => return Err(injected(key)),
            answer => answer?,
        };
        if strike == Some(Break::AfterEffect) {
            let broken = stream::iter([Err(injected(key))]);
            let first = body.range.end - body.range.start > 1;
            let kept = body.stream.take(usize::from(first)).map(|piece| {
                // Even a body that came in one piece must not come whole.
                piece.map(|bytes| bytes.slice(..bytes.len().min(1)))
            });
            body.stream = kept.chain(broken).boxed();
        }
        Ok(body)
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, ObjectError> {
        run(&self.plan, Operation::Head, key, self.inner.head(key)).await
    }

    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError> {
        let call = self.inner.create(key, body);
        run(&self.plan, Operation::Create, key, call).await
    }

    async fn create_stamped(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError> {
        let call = self.inner.create_stamped(key, body);
        run(&self.plan, Operation::Create, key, call).await
    }

    async fn overwrite(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError> {
        let call = self.inner.overwrite(key, body);
        run(&self.plan, Operation::Overwrite, key, call).await
    }

    async fn upload(
        &self,
        key: &ObjectKey,
        spool: &Path,
    ) -> Result<Box<dyn ObjectUpload>, ObjectError> {
        let call = self.inner.upload(key, spool);
        let inner = run(&self.plan, Operation::Upload, key, call).await?;
        Ok(Box::new(FaultyUpload {
            inner,
            key: key.clone(),
            plan: Arc::clone(&self.plan),
        }))
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
    ) -> Result<Vec<ObjectMeta>, ObjectError> {
        if self.plan.enter(Operation::List, prefix).is_some() {
            let named = ObjectKey::parse(prefix.trim_end_matches('/'));
            let key = named.or_else(|_| ObjectKey::parse("root"));
            return Err(injected(&key.expect("`root` is a key")));
        }
        self.plan.pause().await;
        self.inner.list(prefix, after).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        run(&self.plan, Operation::Delete, key, self.inner.delete(key)).await
    }

    /// Asks no store, so it is not counted.
    async fn presign(
        &self,
        key: &ObjectKey,
        signed_at: Timestamp,
        valid: Duration,
    ) -> Result<Option<SignedAddress>, ObjectError> {
        self.inner.presign(key, signed_at, valid).await
    }

    fn is_exclusive(&self) -> bool {
        self.inner.is_exclusive()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectUpload for FaultyUpload {
    async fn write(&mut self, piece: Bytes) -> Result<(), ObjectError> {
        let call = self.inner.write(piece);
        run(&self.plan, Operation::Write, &self.key, call).await
    }

    async fn complete(self: Box<Self>) -> Result<(), ObjectError> {
        let call = self.inner.complete();
        run(&self.plan, Operation::Complete, &self.key, call).await
    }

    async fn abort(self: Box<Self>) {
        let strike = self.plan.enter(Operation::Abort, self.key.as_str());
        if strike != Some(Break::BeforeEffect) {
            self.inner.abort().await;
        }
    }
}
