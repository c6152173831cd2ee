import { COMMAND_SECRETS } from './command-secrets.ts'
import { END, secretKind as kind, type SecretKind } from './secret-kind.ts'
import { isMadeUp } from './secret-value.ts'

const anyCase = { ignoresCase: true } as const
const anywhere = { start: '' } as const
const always = { accepts: () => true } as const

/** Schemes of databases, brokers and caches, whose URLs hold a password. */
const DATABASES = String.raw`(?:postgres(?:ql)?|mysql|mariadb|mongodb|redis|rediss|amqps?|mssql|sqlserver|oracle|cockroachdb|clickhouse|couchdb|cassandra|neo4j|bolt|nats|kafka|ldaps?|jdbc:\w{1,20})(?:\+[\w]{1,20})?`
/** A password in a URL that only says where one would stand. */
const URL_STAND_IN =
  /^(?:pass(?:word|wd)?|pw|pwd|secret|token|user|xxx+|\*+|\.{3}|…)$|^[<[{$%]|\$\{|^(?:your|my)[-_]|^\w+\}/i

export const SECRET_KINDS: readonly SecretKind[] = [
  ...COMMAND_SECRETS,

  // keys and certificates
  kind(
    'private-key',
    'private',
    String.raw`PRIVATE KEY(?: BLOCK)?-----(?:(?!-----END )(?:\\{1,4}[nrt]|[^"'\x60<>{}\\])){0,20000}(?:-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----)?`,
    'RFC 7468, RFC 4880 section 6.2, PROTOCOL.key of OpenSSH',
    { start: '(?<=-----BEGIN (?:[A-Z0-9]{1,12} ){0,3})', ...always },
  ),
  kind(
    'private-key',
    'private-lines',
    String.raw`Private-Lines: ?\d{1,4}(?:\\r|\\n|\s){1,4}(?<secret>(?:[A-Za-z0-9+/=\s]|\\{1,4}[rn]){16,})`,
    'the.earth.li/~sgtatham/putty: appendix C, PPK file format',
    { ...anyCase, ...always },
  ),
  kind(
    'private-key',
    'ls0tls1crudjti',
    'LS0tLS1CRUdJTi(?:BQUklWQVRF|BSU0EgUFJJVkFURSBL|BFQyBQUklWQVRF|BPUEVOU1NIIFBSSVZB|BEU0EgUFJJVkFURSBL|BFTkNSWVBURUQgUFJJ|BQR1AgUFJJVkFURSBL)[A-Za-z0-9+/=]{8,}',
    'RFC 7468 in base64 (RFC 4648 section 4)',
    always,
  ),
  kind(
    'private-key',
    'client-key-data',
    String.raw`client-key-data["']?\s{0,3}:\s{0,3}["']?(?<secret>[A-Za-z0-9+/=]{40,})`,
    'kubernetes.io/docs/reference/config-api/kubeconfig.v1',
    {
      ...anyCase,
      ...always,
    },
  ),
  kind(
    'private-key',
    '"d" "d\\"',
    String.raw`"d\\?"\s{0,3}:\s{0,3}\\?"(?<secret>[A-Za-z0-9_-]{43,})(?=\\?")`,
    'RFC 7517, RFC 7518 section 6',
    { start: '', ...always },
  ),
  kind(
    'age-key',
    'age-secret-key- age-plugin-',
    'AGE-(?:SECRET-KEY|PLUGIN-[A-Z0-9+._-]{1,30})-1[A-Z0-9]{20,}',
    'c2sp.org/age: section Native identities',
    anyCase,
  ),

  // what proves who asks
  kind(
    'jwt',
    'eyj',
    String.raw`eyJ[A-Za-z0-9_-]{8,}\.(?:eyJ[A-Za-z0-9_-]{2,}\.[A-Za-z0-9_-]{10,}|[A-Za-z0-9_-]{0,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{16,})`,
    'RFC 7519, RFC 7516 section 7.1',
  ),
  kind(
    'bearer-token',
    'bearer',
    String.raw`bearer(?:\s{1,4}|%20)(?<secret>(?=[A-Za-z_-]{0,60}[\d.+/=~]|[A-Za-z_-]{24})[A-Za-z0-9._~+/-]{8,}={0,3})`,
    'RFC 6750 section 2.1',
    {
      ...anyCase,
      accepts: isCredential,
      isBroad: true,
    },
  ),
  kind(
    'basic-auth',
    'basic',
    String.raw`[Bb](?:asic|ASIC)\s{1,4}(?<secret>(?=[A-Za-z]{0,60}[\d+/=])[A-Za-z0-9+/]{8,}={0,2})(?![A-Za-z0-9._-])`,
    'RFC 7617',
    {
      accepts: (secret) => /\d|=$/.test(secret) && isCredential(secret),
      isBroad: true,
    },
  ),
  kind(
    'authorization',
    'authorization',
    String.raw`authorization\\?["']?\s{0,3}[:=]\s{0,3}\\?["']?(?:(?:basic|bearer|token|bot|digest|apikey|api-key|key|negotiate|splunk|genie-?key|sso-key)(?:\s|=){1,3}\\?["']?)?(?<secret>[A-Za-z0-9._~+/-]{8,}={0,3})`,
    'RFC 9110 section 11.6.2',
    { ...anyCase, accepts: isCredential, isBroad: true },
  ),
  kind('cookie', 'cookie:', String.raw`cookie:\s{0,3}(?<secret>[\w.%-]{1,60}=[^\r\n"'\\]{8,})`, 'RFC 6265 section 4', {
    ...anyCase,
    start: '(?<![A-Za-z])',
    isBroad: true,
  }),
  kind(
    'url-password',
    '://',
    String.raw`:\/\/[^\s/:@"'<>\x60]{0,100}:(?<secret>(?!//)[^\s/"'<>\x60]{1,300})(?=@)`,
    'RFC 3986 section 3.2.1',
    {
      start: `(?<!${DATABASES})`,
      accepts: isUrlPassword,
    },
  ),
  kind(
    'database-url',
    '://',
    String.raw`:\/\/[^\s/:@"'<>\x60]{0,100}:(?<secret>[^\s/"'<>\x60]{1,300})(?=@)`,
    'postgresql.org/docs/current/libpq-connect.html, mongodb.com/docs/manual/reference/connection-string',
    {
      start: `(?<=${DATABASES})`,
      accepts: isUrlPassword,
    },
  ),
  kind(
    'url-token',
    '://',
    String.raw`:\/\/(?<secret>(?=[A-Za-z_-]{0,40}\d)[A-Za-z0-9_-]{20,})(?=@)`,
    'git-scm.com/docs/gitcredentials, RFC 3986 section 3.2.1',
    anywhere,
  ),

  // clouds
  kind(
    'aws-access-key',
    'akia asia abia acca',
    `A(?:KIA|SIA|BIA|CCA)[A-Z0-9]{16}${END}`,
    'docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html',
  ),
  kind(
    'aws-secret-key',
    'secret_access_key secretaccesskey secret-access-key',
    String.raw`secret[_-]?access[_-]?key\\?["']?\s{0,4}(?:=>|[:=])\s{0,4}\\?["']?(?<secret>[A-Za-z0-9+/]{40})(?![A-Za-z0-9+/=])`,
    'docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_access-keys.html',
    {
      ...anyCase,
      start: '',
    },
  ),
  kind(
    'google-api-key',
    'aiza',
    'AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])',
    'cloud.google.com/docs/authentication/api-keys',
  ),
  kind(
    'google-oauth-secret',
    'gocspx-',
    'GOCSPX-[A-Za-z0-9_-]{20,}',
    'developers.google.com/identity/protocols/oauth2',
  ),
  kind(
    'google-oauth-token',
    'ya29. 1//0',
    String.raw`(?:ya29\.[A-Za-z0-9_.-]{20,}|1//0[A-Za-z0-9_-]{30,})`,
    'developers.google.com/identity/protocols/oauth2#size',
  ),
  kind(
    'azure-storage-key',
    'accountkey= sharedaccesskey=',
    '(?:Account|SharedAccess)Key=(?<secret>[A-Za-z0-9+/]{40,}={0,2})',
    'learn.microsoft.com/azure/storage/common/storage-configure-connection-string',
    {
      ...anyCase,
      start: '',
    },
  ),
  kind(
    'azure-sas',
    'sig=',
    'sig=(?<secret>[A-Za-z0-9%+/]{40,}={0,2})',
    'learn.microsoft.com/rest/api/storageservices/create-service-sas',
    {
      ...anyCase,
      start: String.raw`(?<=[?&;]|\\u0026|&amp;)`,
    },
  ),
  kind(
    'azure-client-secret',
    '0q~ 1q~ 2q~ 3q~ 4q~ 5q~ 6q~ 7q~ 8q~ 9q~',
    String.raw`\dQ~[A-Za-z0-9_.~-]{31,34}(?![A-Za-z0-9_.~-])`,
    'learn.microsoft.com/purview/sit-defn-azure-ad-client-secret',
    {
      start: '(?<=[A-Za-z0-9_.~-]{3})',
    },
  ),
  kind(
    'alibaba-access-key',
    'ltai',
    `LTAI[A-Za-z0-9]{12,26}${END}`,
    'alibabacloud.com/help/en/ram/user-guide/create-an-accesskey-pair',
  ),
  kind(
    'digitalocean-token',
    'doo_v1_ dop_v1_ dor_v1_',
    'do[opr]_v1_[a-f0-9]{64}',
    'docs.digitalocean.com/reference/api/create-personal-access-token',
  ),
  kind(
    'cloudflare-key',
    'v1.0-',
    String.raw`v1\.0-[a-f0-9]{24}-[a-f0-9]{100,}`,
    'developers.cloudflare.com/fundamentals/api/get-started/ca-keys',
  ),
  kind('heroku-key', 'hrku-', 'HRKU-[A-Za-z0-9_-]{30,}', 'devcenter.heroku.com/articles/authentication'),
  kind('fly-token', 'fm1a_ fm1r_ fm2_ fo1_', 'f(?:m1[ar]|m2|o1)_[A-Za-z0-9+/_=-]{20,}', 'fly.io/docs/security/tokens'),
  kind('netlify-token', 'nfp_', 'nfp_[A-Za-z0-9]{36,}', 'docs.netlify.com/api/get-started'),
  kind('databricks-token', 'dapi', `dapi[a-f0-9]{32}(?:-\\d)?${END}`, 'docs.databricks.com/dev-tools/auth/pat'),
  kind(
    'supabase-key',
    'sbp_ sb_secret_',
    'sb(?:p_[a-f0-9]{40}|_secret_[A-Za-z0-9_-]{20,})',
    'supabase.com/docs/guides/api/api-keys',
  ),
  kind(
    'planetscale-token',
    'pscale_',
    'pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.=-]{32,}',
    'planetscale.com/docs/concepts/service-tokens',
  ),

  // keepers of secrets, networks
  kind(
    'vault-token',
    'hvs. hvb. hvr.',
    String.raw`hv[sbr]\.[A-Za-z0-9_-]{24,}`,
    'developer.hashicorp.com/vault/docs/concepts/tokens',
  ),
  kind(
    'terraform-token',
    '.atlasv1.',
    String.raw`\.atlasv1\.(?<secret>[A-Za-z0-9_=-]{60,})`,
    'developer.hashicorp.com/terraform/cloud-docs/users-teams-organizations/api-tokens',
    {
      start: '(?<=[A-Za-z0-9]{14})',
    },
  ),
  kind(
    'doppler-token',
    'dp.pt. dp.st. dp.ct. dp.sa.',
    String.raw`dp\.(?:pt|ct|sa|st(?:\.[a-z0-9_-]{2,35})?)\.[A-Za-z0-9]{40,}`,
    'docs.doppler.com/reference/auth-token-formats',
  ),
  kind('1password-token', 'ops_eyj', 'ops_eyJ[A-Za-z0-9+/=_-]{50,}', 'developer.1password.com/docs/service-accounts'),
  kind(
    'tailscale-key',
    'tskey-',
    'tskey-[a-z]{2,10}-[A-Za-z0-9]{6,}(?:-[A-Za-z0-9]{6,})?',
    'tailscale.com/kb/1085/auth-keys',
  ),

  // model vendors
  kind('anthropic-key', 'sk-ant-', 'sk-ant-[A-Za-z0-9_-]{20,}', 'docs.anthropic.com/en/api/overview'),
  kind('openrouter-key', 'sk-or-', 'sk-or-(?:v1-)?[A-Za-z0-9]{32,}', 'openrouter.ai/docs/api-reference/authentication'),
  kind(
    'openai-key',
    'sk-',
    `sk-(?:(?:proj|svcacct|admin|None)-[A-Za-z0-9_-]{20,}|[A-Za-z0-9]{32,}${END})`,
    'platform.openai.com/docs/api-reference/authentication',
  ),
  kind('groq-key', 'gsk_', 'gsk_[A-Za-z0-9]{40,}', 'console.groq.com/docs/quickstart'),
  kind('xai-key', 'xai-', 'xai-[A-Za-z0-9_-]{60,}', 'docs.x.ai/docs/overview'),
  kind(
    'huggingface-token',
    'hf_ api_org_',
    `(?:hf|api_org)_[A-Za-z0-9]{30,}${END}`,
    'huggingface.co/docs/hub/security-tokens',
  ),
  kind('perplexity-key', 'pplx-', 'pplx-[A-Za-z0-9]{40,}', 'docs.perplexity.ai/guides/getting-started'),
  kind('replicate-token', 'r8_', 'r8_[A-Za-z0-9]{37,}', 'replicate.com/docs/reference/http#authentication'),

  // version control, packages
  kind(
    'github-token',
    'ghp_ gho_ ghu_ ghs_ ghr_ github_pat_',
    'g(?:h[pousr]_[A-Za-z0-9]{20,}|ithub_pat_[A-Za-z0-9_]{22,})',
    'github.blog/2021-04-05-behind-githubs-new-authentication-token-formats',
  ),
  kind(
    'gitlab-token',
    'glpat- gldt- glrt- glptt- glcbt- glft- glsoat- glimt- glagent- gloas- glffct-',
    'gl(?:pat|dt|rt|ptt|cbt|ft|soat|imt|agent|oas|ffct)-[A-Za-z0-9_][A-Za-z0-9_.-]{18,}',
    'docs.gitlab.com/security/tokens/#token-prefixes',
  ),
  kind(
    'atlassian-token',
    'atatt3 atctt3 atbb',
    'AT(?:[AC]TT3[A-Za-z0-9_=-]{40,}|BB[A-Za-z0-9]{24,})',
    'support.atlassian.com/bitbucket-cloud/docs/using-app-passwords',
  ),
  kind('npm-token', 'npm_', `npm_[A-Za-z0-9]{36,}${END}`, 'docs.npmjs.com/about-access-tokens'),
  kind('pypi-token', 'pypi-ageichlwas5v', 'pypi-AgEIcHlwaS5v[A-Za-z0-9_-]{40,}', 'pypi.org/help/#apitoken'),
  kind('rubygems-key', 'rubygems_', 'rubygems_[a-f0-9]{48}', 'guides.rubygems.org/api-key-scopes'),
  kind(
    'docker-token',
    'dckr_pat_ dckr_oat_',
    'dckr_[po]at_[A-Za-z0-9_-]{20,}',
    'docs.docker.com/security/access-tokens',
  ),
  kind('nuget-key', 'oy2', `oy2[a-z0-9]{43}${END}`, 'learn.microsoft.com/nuget/nuget-org/scoped-api-keys'),

  // chat and mail
  kind(
    'slack-token',
    'xoxa- xoxb- xoxe- xoxe. xoxo- xoxp- xoxr- xoxs- xapp- xwfp-',
    String.raw`(?:xox[abeoprs]|xoxe\.xox[bp]|xapp|xwfp)-[A-Za-z0-9-]{10,}`,
    'api.slack.com/authentication/token-types',
    {
      accepts: (secret) => !isMadeUp(secret) && /\d/.test(secret),
    },
  ),
  kind(
    'slack-webhook',
    'hooks.slack',
    String.raw`hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/(?<secret>[A-Za-z0-9_/+-]{20,})`,
    'api.slack.com/messaging/webhooks',
  ),
  kind(
    'discord-webhook',
    '/api/webhooks/',
    String.raw`/api/webhooks/\d{17,20}/(?<secret>[A-Za-z0-9_-]{40,})`,
    'discord.com/developers/docs/resources/webhook',
    {
      start: String.raw`(?<=discord(?:app)?\.com)`,
    },
  ),
  kind(
    'teams-webhook',
    '/incomingwebhook/',
    '/IncomingWebhook/(?<secret>[a-f0-9]{32}/[A-Za-z0-9-]{36})',
    'learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors',
    {
      ...anyCase,
      start: '',
    },
  ),
  kind(
    'telegram-token',
    ':aa',
    ':AA[A-Za-z0-9_-]{32,34}(?![A-Za-z0-9_-])',
    'core.telegram.org/bots/features#botfather',
    { start: String.raw`(?<=\d{8,10})` },
  ),
  kind(
    'sendgrid-key',
    'sg.',
    String.raw`SG\.[A-Za-z0-9_-]{20,24}\.[A-Za-z0-9_-]{39,50}`,
    'twilio.com/docs/sendgrid/ui/account-and-settings/api-keys',
  ),
  kind('mailgun-key', 'key-', `key-[a-f0-9]{32}${END}`, 'documentation.mailgun.com/docs/mailgun/api-reference/mg-auth'),
  kind(
    'twilio-key',
    'sk0 sk1 sk2 sk3 sk4 sk5 sk6 sk7 sk8 sk9 ska skb skc skd ske skf',
    `SK[a-f0-9]{32}${END}`,
    'twilio.com/docs/iam/api-keys',
  ),

  // payment and shops
  kind(
    'stripe-key',
    'sk_live_ sk_test_ rk_live_ rk_test_ whsec_',
    '(?:[sr]k_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{24,})',
    'docs.stripe.com/keys',
  ),
  kind(
    'square-token',
    'sq0atp- sq0csp- eaaa',
    'sq0(?:atp|csp)-[A-Za-z0-9_-]{22,}|EAAA[A-Za-z0-9_-]{60,64}(?![A-Za-z0-9_-])',
    'developer.squareup.com/docs/build-basics/access-tokens',
  ),
  kind(
    'shopify-token',
    'shpat_ shpca_ shppa_ shpss_',
    'shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{32}',
    'shopify.dev/docs/apps/build/authentication-authorization',
  ),
  kind(
    'braintree-token',
    'access_token$',
    String.raw`access_token\$(?:production|sandbox)\$[a-z0-9]{16}\$(?<secret>[a-f0-9]{32})`,
    'developer.paypal.com/braintree/docs',
    { start: '' },
  ),

  // watching, writing, working
  kind('newrelic-key', 'nrak-', 'NRAK-[A-Z0-9]{27}', 'docs.newrelic.com/docs/apis/intro-apis/new-relic-api-keys'),
  kind(
    'grafana-token',
    'glc_ glsa_',
    'gl(?:c_[A-Za-z0-9+/]{32,}={0,2}|sa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8})',
    'grafana.com/docs/grafana/latest/administration/service-accounts',
  ),
  kind(
    'sentry-token',
    'sntrys_ sntryu_',
    'sntry(?:s_eyJ[A-Za-z0-9+/=_-]{40,}|u_[a-f0-9]{64})',
    'docs.sentry.io/account/auth-tokens',
  ),
  kind(
    'dynatrace-token',
    'dt0c01. dt0s01.',
    String.raw`dt0[cs]01\.[A-Z0-9]{24}\.[A-Z0-9]{64}`,
    'docs.dynatrace.com/docs/manage/identity-access-management/access-tokens-and-oauth-clients',
  ),
  kind('linear-key', 'lin_api_', 'lin_api_[A-Za-z0-9]{32,}', 'linear.app/developers/graphql'),
  kind(
    'notion-token',
    'ntn_ secret_',
    '(?:ntn_[A-Za-z0-9]{40,}|secret_[A-Za-z0-9]{43})(?![A-Za-z0-9])',
    'developers.notion.com/docs/authorization',
  ),
  kind('figma-token', 'figd_ figo_', 'fig[do]_[A-Za-z0-9_-]{36,}', 'developers.figma.com/docs/rest-api/authentication'),
  kind(
    'postman-key',
    'pmak-',
    'PMAK-[a-f0-9]{24}-[a-f0-9]{34}',
    'learning.postman.com/docs/developer/postman-api/authentication',
  ),
]

/** A credential after `Bearer` or `Basic`: a variable, a type or a word of prose stands there too. */
function isCredential(secret: string): boolean {
  if (isMadeUp(secret) || /^(?:token|realm|scheme|authentication|auth)\b/i.test(secret)) return false
  return /\d/.test(secret) || /[a-z][A-Z]|[A-Z]{2}[a-z]|=$/.test(secret)
}

function isUrlPassword(secret: string): boolean {
  return !URL_STAND_IN.test(secret)
}
