/** Texts that hold a secret. Each is put together here from parts, so that no file holds what looks real. */
import { createHash } from 'node:crypto'

export interface TrueSample {
  /** What the mark must call it; null where any name will do. */
  readonly kind: string | null
  /** What must not be left of the text. */
  readonly secret: string
  readonly text: string
}

const LOWER = 'abcdefghijklmnopqrstuvwxyz'
const DIGITS = '0123456789'
const HEX = `${DIGITS}abcdef`
const UPPER = LOWER.toUpperCase()
const ALNUM = LOWER + UPPER + DIGITS
const URLSAFE = `${ALNUM}-_`
const BASE64 = `${ALNUM}+/`

let drawn = 0
/** Some characters that look random, the same in every run. */
function some(length: number, alphabet = ALNUM): string {
  let text = ''
  while (text.length < length) {
    drawn += 1
    for (const byte of createHash('sha256').update(`sample ${drawn}`).digest()) text += alphabet[byte % alphabet.length]
  }
  return text.slice(0, length)
}

/** The same, with a letter first and a digit in it, as all but one in a million have. */
function mixed(length: number, alphabet = ALNUM): string {
  return `k${some(length - 3, alphabet)}7Q`
}

/** Tokens that are known by their own form. */
const TOKENS: Readonly<Record<string, () => readonly string[]>> = {
  'aws-access-key': () => [`AKIA${some(16, UPPER + DIGITS)}`, `ASIA${some(16, UPPER + DIGITS)}`],
  'google-api-key': () => [`AIza${some(35, URLSAFE.replace('-', ''))}`],
  'google-oauth-secret': () => [`GOCSPX-${some(28)}`],
  'google-oauth-token': () => [`ya29.${some(120, URLSAFE)}`, `1//0${some(60, URLSAFE)}`],
  'alibaba-access-key': () => [`LTAI${some(20)}`],
  'digitalocean-token': () => [`dop_v1_${some(64, HEX)}`, `doo_v1_${some(64, HEX)}`],
  'cloudflare-key': () => [`v1.0-${some(24, HEX)}-${some(146, HEX)}`],
  'heroku-key': () => [`HRKU-${some(36)}`],
  'fly-token': () => [`fm2_${some(90, BASE64)}`, `fo1_${some(43, URLSAFE)}`],
  'netlify-token': () => [`nfp_${some(36)}`],
  'databricks-token': () => [`dapi${some(32, HEX)}`],
  'supabase-key': () => [`sbp_${some(40, HEX)}`, `sb_secret_${some(31, URLSAFE)}`],
  'planetscale-token': () => [`pscale_tkn_${some(43, URLSAFE)}`],
  'vault-token': () => [`hvs.${some(90, URLSAFE)}`, `hvb.${some(150, URLSAFE)}`],
  'doppler-token': () => [`dp.pt.${some(43)}`, `dp.st.dev.${some(43)}`],
  '1password-token': () => [`ops_eyJ${some(200, URLSAFE)}`],
  'tailscale-key': () => [`tskey-auth-${some(12)}CNTRL-${some(32)}`],
  'anthropic-key': () => [`sk-ant-api03-${some(93, URLSAFE)}AA`, `sk-ant-oat01-${some(93, URLSAFE)}AA`],
  'openrouter-key': () => [`sk-or-v1-${some(64, HEX)}`],
  'openai-key': () => [
    `sk-${some(48)}`,
    `sk-proj-${some(120, URLSAFE)}`,
    `sk-svcacct-${some(120, URLSAFE)}`,
    `sk-${some(32, HEX)}`,
  ],
  'groq-key': () => [`gsk_${some(52)}`],
  'xai-key': () => [`xai-${some(80)}`],
  'huggingface-token': () => [`hf_${some(34, LOWER + UPPER)}`],
  'perplexity-key': () => [`pplx-${some(48)}`],
  'replicate-token': () => [`r8_${some(37)}`],
  'github-token': () => [
    ...['ghp', 'gho', 'ghu', 'ghs', 'ghr'].map((prefix) => `${prefix}_${some(36)}`),
    `github_pat_${some(22)}_${some(59)}`,
  ],
  'gitlab-token': () => ['glpat', 'gldt', 'glrt', 'glptt'].map((prefix) => `${prefix}-${some(20, `${ALNUM}_`)}`),
  'atlassian-token': () => [`ATATT3xFfGF0${some(160, URLSAFE)}=${some(8, HEX)}`, `ATBB${some(32)}`],
  'npm-token': () => [`npm_${some(36)}`],
  'pypi-token': () => [`pypi-AgEIcHlwaS5vcmc${some(150, URLSAFE)}`],
  'rubygems-key': () => [`rubygems_${some(48, HEX)}`],
  'docker-token': () => [`dckr_pat_${some(27, URLSAFE)}`],
  'nuget-key': () => [`oy2${some(43, LOWER + DIGITS)}`],
  'slack-token': () => [
    `xoxb-${some(12, DIGITS)}-${some(13, DIGITS)}-${some(24)}`,
    `xapp-1-A${some(10, UPPER)}-${some(13, DIGITS)}-${some(64, HEX)}`,
  ],
  'sendgrid-key': () => [`SG.${some(22, URLSAFE)}.${some(43, URLSAFE)}`],
  'mailgun-key': () => [`key-${some(32, HEX)}`],
  'twilio-key': () => [`SK${some(32, HEX)}`],
  'stripe-key': () => [`sk_live_${some(24)}`, `rk_test_${some(99)}`, `whsec_${some(32)}`],
  'square-token': () => [`sq0atp-${some(22, URLSAFE)}`, `EAAA${some(60, URLSAFE)}`],
  'shopify-token': () => [`shpat_${some(32, HEX)}`],
  'newrelic-key': () => [`NRAK-${some(27, UPPER + DIGITS)}`],
  'grafana-token': () => [`glsa_${some(32)}_${some(8, HEX)}`, `glc_${some(100, BASE64)}`],
  'sentry-token': () => [`sntryu_${some(64, HEX)}`, `sntrys_eyJ${some(150, ALNUM)}`],
  'dynatrace-token': () => [`dt0c01.${some(24, UPPER + DIGITS)}.${some(64, UPPER + DIGITS)}`],
  'linear-key': () => [`lin_api_${some(40)}`],
  'notion-token': () => [`ntn_${some(46)}`, `secret_${some(43)}`],
  'figma-token': () => [`figd_${some(40, URLSAFE)}`],
  'postman-key': () => [`PMAK-${some(24, HEX)}-${some(34, HEX)}`],
  'age-key': () => [`AGE-SECRET-KEY-1${some(58, UPPER + DIGITS)}`],
  jwt: () => [`eyJ${some(33, URLSAFE)}.eyJ${some(60, URLSAFE)}.${some(43, URLSAFE)}`],
  'session-token': () => [some(64, HEX)],
}

/** Where tokens are met: alone, in prose, in settings, in JSON within JSON, in colours, at the end of a line that was escaped. */
const PLACES: readonly ((token: string) => string)[] = [
  (token) => token,
  (token) => `I pushed with ${token}, please rotate it.`,
  (token) => JSON.stringify({ event: 'call failed', why: `line one\n${token}\nline two` }),
  (token) => `2026-11-29T04:05:06Z INFO \u001b[32m${token}\u001b[0m done`,
  (token) => `X_VALUE='${token}'`,
]

function tokens(): TrueSample[] {
  return Object.entries(TOKENS).flatMap(([kind, make]) =>
    PLACES.flatMap((place) => make().map((secret) => ({ kind, secret, text: place(secret) }))),
  )
}

function keyOf(label: string, headers = ''): { body: string; pem: string } {
  const body = [1, 2, 3].map(() => some(64, BASE64)).join('\n')
  const [begin, end] = ['BEGIN', 'END'].map((word) => `-----${word} ${label}-----`)
  return { body, pem: `${begin}\n${headers}${body}\n${end}` }
}

function privateKeys(): TrueSample[] {
  const labels = ['RSA ', 'EC ', 'DSA ', 'OPENSSH ', 'ENCRYPTED ', ''].map((word) => `${word}PRIVATE KEY`)
  const samples = [...labels, 'PGP PRIVATE KEY BLOCK'].flatMap((label) => {
    const { body, pem } = keyOf(label)
    const secret = body.slice(0, 64)
    return [
      { kind: 'private-key', secret, text: `here it is:\n${pem}\nbye` },
      { kind: 'private-key', secret, text: JSON.stringify({ key: pem }) },
      { kind: 'private-key', secret, text: pem.slice(0, -70) },
      { kind: 'private-key', secret, text: pem.replaceAll('\n', '\r\n') },
    ]
  })
  const old = keyOf('RSA PRIVATE KEY', `Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,${some(32, HEX)}\n\n`)
  const inBase64 = Buffer.from(keyOf('RSA PRIVATE KEY').pem).toString('base64')
  const putty = some(64, BASE64)
  const jwk = some(43, URLSAFE)
  return [
    ...samples,
    { kind: 'private-key', secret: old.body.slice(0, 64), text: old.pem },
    { kind: 'private-key', secret: inBase64, text: `tls.key: ${inBase64}` },
    { kind: 'private-key', secret: inBase64, text: `    client-key-data: ${inBase64}\n` },
    { kind: 'private-key', secret: putty, text: `Private-Lines: 2\n${putty}\n${some(20, BASE64)}\nPrivate-MAC: 0` },
    { kind: 'private-key', secret: jwk, text: JSON.stringify({ kty: 'OKP', crv: 'Ed25519', x: 'public', d: jwk }) },
  ]
}

/** Secrets that are known by what stands before them. */
function headers(): TrueSample[] {
  const bearer = mixed(40, URLSAFE)
  const basic = Buffer.from(`admin:${mixed(12)}`).toString('base64')
  const cookie = mixed(32)
  const own = mixed(30)
  return [
    { kind: 'bearer-token', secret: bearer, text: `Authorization: Bearer ${bearer}` },
    { kind: 'bearer-token', secret: bearer, text: `curl -H 'authorization: bearer ${bearer}' https://api.test/v1` },
    { kind: 'bearer-token', secret: bearer, text: JSON.stringify({ headers: { Authorization: `Bearer ${bearer}` } }) },
    { kind: 'bearer-token', secret: bearer, text: `it answers 401 to Bearer ${bearer}` },
    { kind: 'basic-auth', secret: basic, text: `Authorization: Basic ${basic}` },
    { kind: 'basic-auth', secret: basic, text: `Proxy-Authorization: Basic ${basic}\r\nHost: proxy` },
    { kind: 'authorization', secret: own, text: `Authorization: Token ${own}` },
    { kind: 'authorization', secret: own, text: `"authorization": "${own}"` },
    { kind: 'authorization', secret: own, text: `Authorization: Bot ${own}` },
    { kind: 'cookie', secret: cookie, text: `Cookie: theme=dark; sessionid=${cookie}` },
    { kind: 'cookie', secret: cookie, text: `Set-Cookie: sid=${cookie}; Path=/; HttpOnly` },
  ]
}

function urls(): TrueSample[] {
  const password = mixed(14)
  const databases = [
    'postgres',
    'postgresql',
    'mysql',
    'mongodb+srv',
    'redis',
    'rediss',
    'amqp',
    'mssql',
    'postgresql+psycopg2',
    'nats',
  ]
  const others = ['https', 'http', 'ftp', 'ssh', 'smtp', 'socks5', 'git+https', 'imaps']
  const token = mixed(40)
  return [
    ...databases.map((scheme) => ({
      kind: 'database-url',
      secret: password,
      text: `URL=${scheme}://app:${password}@db.internal:5432/main`,
    })),
    { kind: 'database-url', secret: password, text: `redis://:${password}@cache:6379/0` },
    ...others.map((scheme) => ({
      kind: 'url-password',
      secret: password,
      text: `fetch ${scheme}://deploy:${password}@host.test/x failed`,
    })),
    { kind: 'url-password', secret: `${password}@more`, text: `https://deploy:${password}@more@host.test/r.git` },
    { kind: 'url-token', secret: token, text: `git clone https://${token}@git.test/r.git` },
  ]
}

function clouds(): TrueSample[] {
  const aws = `${some(38, BASE64)}9z`
  const azure = `${some(86, BASE64)}==`
  const sas = `${some(43)}%3D`
  const client = `${some(3)}8Q~${some(34)}`
  const terraform = some(67)
  const [slack, discord, teams] = [
    `T${some(8, UPPER)}/B${some(8, UPPER)}/${some(24)}`,
    some(68, URLSAFE),
    `${some(32, HEX)}/${some(8, HEX)}-1111-2222-3333-${some(12, HEX)}`,
  ]
  const telegram = `AA${some(33, URLSAFE)}`
  const braintree = some(32, HEX)
  return [
    { kind: 'aws-secret-key', secret: aws, text: `aws_secret_access_key = ${aws}` },
    { kind: 'aws-secret-key', secret: aws, text: JSON.stringify({ SecretAccessKey: aws }) },
    { kind: 'aws-secret-key', secret: aws, text: `export AWS_SECRET_ACCESS_KEY="${aws}"` },
    {
      kind: 'azure-storage-key',
      secret: azure,
      text: `DefaultEndpointsProtocol=https;AccountName=a;AccountKey=${azure};EndpointSuffix=core`,
    },
    {
      kind: 'azure-storage-key',
      secret: azure.slice(0, 43),
      text: `Endpoint=sb://b/;SharedAccessKey=${azure.slice(0, 43)}=`,
    },
    { kind: 'azure-sas', secret: sas, text: `https://a.blob.test/c?sv=2024&sp=r&sig=${sas}` },
    { kind: 'azure-client-secret', secret: client.slice(3), text: `the value is ${client} now` },
    { kind: 'terraform-token', secret: terraform, text: `${some(14)}.atlasv1.${terraform}` },
    { kind: 'slack-webhook', secret: slack, text: `https://hooks.slack.com/services/${slack}` },
    {
      kind: 'discord-webhook',
      secret: discord,
      text: `https://discord.com/api/webhooks/${some(18, DIGITS)}/${discord}`,
    },
    {
      kind: 'teams-webhook',
      secret: teams,
      text: `https://x.webhook.office.test/webhookb2/y/IncomingWebhook/${teams}`,
    },
    {
      kind: 'telegram-token',
      secret: telegram,
      text: `https://api.telegram.org/bot${some(9, '123456789')}:${telegram}/getMe`,
    },
    { kind: 'braintree-token', secret: braintree, text: `access_token$production$${some(16, LOWER)}$${braintree}` },
  ]
}

/** Secrets that are called so by their name. */
function named(): TrueSample[] {
  const word = ['hunt', 'er2'].join('')
  const strong = ['s3', 'cr', 'et!pw'].join('')
  const plain = ['let', 'me', 'in'].join('')
  const phrase = ['correct', 'horse', 'battery', 'staple'].join(' ')
  const password = (secret: string, text: string): TrueSample => ({ kind: 'password', secret, text })
  const key = mixed(32)
  const hex = `${some(31, HEX)}7`
  const of = (kind: string, secret: string, text: string): TrueSample => ({ kind, secret, text })
  return [
    ...[word, strong].flatMap((secret) => [
      password(secret, `password: ${secret}`),
      password(secret, `password=${secret}`),
      password(secret, `passwd = ${secret}`),
      password(secret, `pwd=${secret}`),
      password(secret, `PASSWORD="${secret}"`),
      password(secret, `DB_PASSWORD=${secret}`),
      password(secret, `MYSQL_ROOT_PASSWORD: ${secret}`),
      password(secret, `{"user":"app","password":"${secret}"}`),
      password(secret, JSON.stringify({ why: `{"password":"${secret}"}` })),
      password(secret, JSON.stringify({ why: `failed\npassword=${secret}\nnext` })),
      password(secret, `https://x.test/login?user=a&password=${secret}&next=b`),
      password(secret, `Server=db;User Id=sa;Password=${secret};Encrypt=true`),
      password(secret, `mysql --password=${secret} main`),
      password(secret, `s2 login --password ${secret}`),
      password(secret, `["login","--password","${secret}"]`),
      password(secret, `<password>${secret}</password>`),
      password(secret, `my password is ${secret}, do not tell`),
      password(secret, `password: str = "${secret}"`),
      password(secret, `const password = '${secret}'`),
      password(secret, `'password' => '${secret}',`),
      password(secret, `- name: DB_PASSWORD\n  value: ${secret}`),
      password(secret, `{"name": "DB_PASSWORD", "value": "${secret}"}`),
      password(secret, `machine git.test login me password=${secret}`),
      password(secret, `user%3Dapp%26password%3D${secret}`),
      password(secret, `if (password === "${secret}") {`),
      password(secret, `passphrase: ${secret}`),
      password(secret, `export SMTP_PASS=${secret}`),
      password(secret, `(password=${secret})`),
    ]),
    password(plain, `password=${plain}`),
    password(plain, `PGPASSWORD=${plain} psql`),
    password(phrase, `PASSPHRASE="${phrase}"`),
    password('839201', 'password=839201'),
    ...[key, hex].flatMap((secret) => [
      of('api-key', secret, `api_key=${secret}`),
      of('api-key', secret, `apikey: ${secret}`),
      of('api-key', secret, `"apiKey": "${secret}"`),
      of('api-key', secret, `X-Api-Key: ${secret}`),
      of('api-key', secret, `https://api.test/v1?api_key=${secret}`),
      of('api-key', secret, `WEATHER_API_KEY=${secret}`),
      of('api-key', secret, `api key is ${secret}`),
      of('secret', secret, `secret: ${secret}`),
      of('secret', secret, `client_secret=${secret}`),
      of('secret', secret, `"clientSecret": "${secret}"`),
      of('secret', secret, `SECRET_KEY = '${secret}'`),
      of('secret', secret, `JWT_SECRET="${secret}"`),
      of('secret', secret, `SECRET_KEY_BASE=${secret}`),
      of('secret', secret, `encryption_key: ${secret}`),
      of('secret', secret, `PRIVATE_KEY=${secret}`),
      of('secret', secret, `"auth": "${secret}"`),
      of('secret', secret, `//registry.test/:_auth=${secret}`),
      of('token', secret, `token=${secret}`),
      of('token', secret, `"token": "${secret}"`),
      of('token', secret, `access_token=${secret}&scope=all`),
      of('token', secret, `refresh_token: ${secret}`),
      of('token', secret, `//registry.test/:_authToken=${secret}`),
      of('token', secret, `CI_JOB_TOKEN=${secret}`),
      of('token', secret, `x-auth-token: ${secret}`),
      of('token', secret, `gh auth login --with-token ${secret}`),
      of('token', secret, `csrfToken='${secret}'`),
    ]),
  ]
}

/** Secrets that are known by the command or the file that they stand in. */
function commands(): TrueSample[] {
  const strong = ['Tr0ub', '4dor&', '3xyz'].join('')
  const plain = ['let', 'me', 'in'].join('')
  const random = mixed(18)
  const code = `${some(5, UPPER)}-${some(5, UPPER)}`
  const line = `s2-join-${some(180, URLSAFE)}`
  const [id, key] = [`AKIA${some(16, UPPER + DIGITS)}`, `${some(36, BASE64)}aZ9z`]
  const [one, other] = [some(64, HEX), some(64, HEX)]
  const of = (kind: string, secret: string, ...texts: readonly string[]): TrueSample[] =>
    texts.map((text) => ({ kind, secret, text }))
  return [
    ...of('s2-invitation', line, line, `s2 worker join ${line}`, JSON.stringify({ text: `use\n${line}\nsoon` })),
    ...of(
      'guard-code',
      code,
      `s2 guard redeem ${code}`,
      `echo ${code} | s2 guard redeem`,
      `s2 guard redeem <<< "${code}"`,
      `printf '${code}' | s2 guard redeem`,
      `redeem the code ${code} within two minutes`,
    ),
    ...[strong, random].flatMap((secret) => [
      ...of('password', secret, `curl -u admin:${secret} https://api.test/x`, `curl -sS -u "admin:${secret}" -X PUT`),
      ...of(
        'password',
        secret,
        `curl --user=admin:${secret} https://api.test`,
        `http --user me@corp.test:${secret} x.test`,
      ),
      ...of('password', secret, JSON.stringify({ cmd: `curl -u 'admin:${secret}' https://x.test` })),
    ]),
    ...[strong, random, plain].flatMap((secret) => [
      ...of('password', secret, `curl -u deploy:${secret} https://api.test/x`),
      ...of('password', secret, `sshpass -p ${secret} ssh root@host`, `sshpass -p'${secret}' scp a b:`),
      ...of(
        'password',
        secret,
        `mysql -uroot -p${secret} main`,
        `mysqldump -h db.test -u root -p'${secret}' main > x.sql`,
      ),
      ...of('password', secret, `redis-cli -h cache -a ${secret} ping`),
      ...of('password', secret, `machine git.test login me password ${secret}`, `default login me password ${secret}`),
      ...of('password', secret, `machine git.test\n  login me\n  password ${secret}\n`),
      ...of('password', secret, JSON.stringify({ text: `machine git.test\n\tlogin me\n\tpassword ${secret}\n` })),
      ...of(
        'password',
        secret,
        `db.test:5432:main:app:${secret}`,
        `*:*:*:app:${secret}\nx`,
        `cat .pgpass\nlocalhost:*:main:app:${secret}`,
      ),
      ...of('password', secret, `password: |\n  ${secret}\nuser: app`, `db:\n  password: >-\n    ${secret}\n`),
      ...of('password', secret, JSON.stringify({ text: `password: |\n  ${secret}\nuser: app` })),
    ]),
    ...of('password', strong, `requirepass ${strong}`, `masterauth "${strong}"`, `"requirepass": "${strong}"`),
    ...of('password', strong, `Kennwort: ${strong}`, `CONFIG SET requirepass ${strong}`),
    ...of('token', random, `token: |\n  ${random}\n`, `secret_token: >\r\n  ${random}\r\n`),
    ...of(
      'aws-secret-key',
      key,
      `${id} ${key}`,
      `${id},${key}`,
      `"${id}", "${key}"`,
      `${id} and ${key}`.replace(' and', ':'),
    ),
    ...of('aws-secret-key', key, `${id} secret: ${key}`),
    ...[one, other].flatMap((secret) => of('session-token', secret, `${one}${other}`, `sent "${one}${other}"`)),
  ]
}

/** All of them, the same in every run. */
export function trueSamples(): TrueSample[] {
  drawn = 0
  return [...tokens(), ...privateKeys(), ...headers(), ...urls(), ...clouds(), ...named(), ...commands()]
}
