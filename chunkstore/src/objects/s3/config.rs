//! Which bucket, how to reach it, and how the SDK is told.

use std::fmt;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Builder as ConfigBuilder, Credentials, Region, RequestChecksumCalculation,
    ResponseChecksumValidation, SharedCredentialsProvider, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::tls;

use crate::objects::ObjectKey;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// From sending a small request to the head of its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// The same for a request that carries a part of an upload.
pub(super) const PART_TIMEOUT: Duration = Duration::from_secs(900);

/// Which bucket, and how to reach it.
#[derive(Debug, Clone)]
pub struct S3Settings {
    /// The server's address; nothing for Amazon's own.
    pub endpoint: Option<String>,
    /// The address that signed addresses begin with, where others reach the server under another one.
    pub public_endpoint: Option<String>,
    /// The region; nothing for `us-east-1` where there is an endpoint, else for that of the environment.
    pub region: Option<String>,
    /// The bucket's name.
    pub bucket: String,
    /// What all keys in the bucket begin with, without the `/` that follows it.
    pub prefix: Option<ObjectKey>,
    /// Whether the bucket's name goes into the path and not into the host's name.
    pub path_style: bool,
    /// The keys to sign with; nothing to take them from the SDK's chain of sources.
    pub credentials: Option<S3Credentials>,
}

/// The region where nothing names another: what servers that are not Amazon's take.
const USUAL_REGION: Region = Region::from_static("us-east-1");

/// A pair of keys. Its `Debug` shows neither.
#[derive(Clone)]
pub struct S3Credentials {
    /// The public half.
    pub access_key: String,
    /// The secret half.
    pub secret_key: String,
}

impl fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Credentials").finish_non_exhaustive()
    }
}

/// Turns settings into the SDK's, and names the source of keys beside them. Reads files and the environment only if
/// the settings leave something out.
pub(super) async fn config(settings: &S3Settings) -> (ConfigBuilder, SharedCredentialsProvider) {
    let http_client = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(
            tls::rustls_provider::CryptoMode::Ring,
        ))
        .build_https();
    let region = match (&settings.region, &settings.endpoint) {
        (Some(region), _) => Some(Region::new(region.clone())),
        (None, Some(_)) => Some(USUAL_REGION),
        (None, None) => None,
    };
    let loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http_client.clone());
    let (mut config, keys, region) = match (&settings.credentials, region) {
        (Some(pair), region) => {
            let keys = Credentials::new(&pair.access_key, &pair.secret_key, None, None, "settings");
            let region = match region {
                Some(region) => region,
                None => region_of(&loader.load().await),
            };
            let keys = SharedCredentialsProvider::new(keys);
            (ConfigBuilder::new(), keys, region)
        }
        (None, Some(region)) => {
            let environment = loader.region(region.clone()).load().await;
            let keys = keys_of(&environment);
            (ConfigBuilder::from(&environment), keys, region)
        }
        (None, None) => {
            let environment = loader.load().await;
            let (keys, region) = (keys_of(&environment), region_of(&environment));
            (ConfigBuilder::from(&environment), keys, region)
        }
    };
    config.set_credentials_provider(Some(keys.clone()));
    let config = config.region(region);
    let config = match &settings.endpoint {
        Some(endpoint) => config.endpoint_url(endpoint),
        None => config,
    };
    // An upload waits for the client who sends it; only downloads that stand still are broken off.
    let stalled = StalledStreamProtectionConfig::enabled()
        .upload_enabled(false)
        .grace_period(Duration::from_secs(30))
        .build();
    let config = config
        .behavior_version(BehaviorVersion::latest())
        .http_client(http_client)
        .force_path_style(settings.path_style)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(stalled)
        .timeout_config(timeouts(ANSWER_TIMEOUT));
    (config, keys)
}

fn keys_of(environment: &SdkConfig) -> SharedCredentialsProvider {
    let keys = environment.credentials_provider();
    keys.expect("the loader names the SDK's chain of sources")
}

fn region_of(environment: &SdkConfig) -> Region {
    environment.region().cloned().unwrap_or(USUAL_REGION)
}

pub(super) fn timeouts(answer: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(answer)
        .build()
}
