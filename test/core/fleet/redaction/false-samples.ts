/** Texts that hold no secret, though they speak of secrets or look like some. */
import { createHash } from 'node:crypto'

let drawn = 0
function digest(algorithm: string, encoding: 'hex' | 'base64' | 'base64url' = 'hex'): string {
  drawn += 1
  return createHash(algorithm).update(`false ${drawn}`).digest(encoding)
}

const PROSE = `
password: wrong
password: incorrect, try again
The password is required.
Your password is too short: 8 characters at least
password is invalid
wrong password for user admin
passwords must not be shared
Password: at least 12 characters, one digit
please enter your password:
the passwd file lists users
pwd prints the working directory
token count: 5
tokens: 128000
max_tokens: 4096
total tokens=51234
token limit is 200000
Unexpected token } in JSON at position 17
SyntaxError: Unexpected token: punc (3)
token expired
token: invalid
token is missing
the token of the session is not valid any more
a fencing token is raised by every move
next token: IDENTIFIER
token type: bearer
The bearer of this letter is trustworthy
bearer authentication is needed
a bearer token was sent
Bearer authorization required by the endpoint
Basic functionality works now
basic authentication is off
Basic understanding of TypeScript
basic auth over plain http
secret: none
the secret is out
secretary: Jane Miller
it is a secret ingredient
secrets are kept elsewhere
The secret of good code is simplicity
keep it secret, keep it safe
api key is missing
api keys are documented there
api_key: string
The api key: see the vault
credentials: see the wiki
credential expired yesterday
private key not found
the private key is encrypted
keyboard: us
monkey: banana
compass: north
bypass: true
author: jane
authorization: required
authorization is checked by the bridge
Authorization: Bearer <token>
Authorization: Bearer $TOKEN
Authorization: Bearer YOUR_TOKEN
cookie: what a nice one
cookies are not used
sk-learn is a library
task-force-2026-planning-document-final
disk-usage-of-the-whole-machine-in-percent-2026
AKIA is the prefix of access keys
ghp_ is the prefix of tokens
ghp_short
the prefix sk- is followed by 48 characters
-----BEGIN CERTIFICATE-----
we never commit a -----BEGIN something-----
eyJ is how a JWT begins
password policy: strong
password manager: yes
reset password: done
password_reset: true
forgot password: /account/forgot
old password: unchanged
password changed: 2026-11-29
secret santa: December
token bucket: 10 per second
token ring: obsolete
access token: expired
refresh token: revoked
session token: rotated
credential rotated: s2-worker-3
the key to success: persistence
access key: Alt+Shift+P
passphrase: optional
passcode: required
api-key: missing
apikey: undefined
secret=true
token=null
password=None
password=
password: ""
token:
secret: ''
`

/** Begins a variable of a shell. */
const DOLLAR = '${'
const STAND_INS = `
api_key=$API_KEY
api_key=${DOLLAR}API_KEY}
api_key: ${DOLLAR}{ secrets.API_KEY }}
password: ${DOLLAR}DB_PASSWORD}
password=$DB_PASSWORD
PASSWORD=$(cat /run/secrets/db)
password: "{{ vault_password }}"
password: {{ .Values.db.password }}
secret: ${DOLLAR}SECRET}
token: <your token>
token: <token>
api_key: <your key>
api_key=YOUR_API_KEY
apiKey: "your-api-key-here"
secret_key = "your-secret-key"
password: changeme
password=********
password: xxxxxxxx
token=xxxxxxxxxxxxxxxxxxxx
token: XXXXXXXXXXXXXXXX
api_key=xxxx-xxxx-xxxx-xxxx
secret: ...
secret: "..."
password: [redacted]
password: [hidden]
password=%s
password=%(password)s
password=:password
password = ?
password: {password}
f"password={password}"
token="#{token}"
--password <password>
--password PASSWORD
--token TOKEN
--token $TOKEN
--token-file /run/secrets/token
--password-file=/etc/app/password
postgres://user:password@localhost/db
postgres://user:pass@host:5432/db
postgres://${DOLLAR}DB_USER}:${DOLLAR}DB_PASS}@db/main
mysql://root:$MYSQL_PASSWORD@db/main
https://user:<password>@host/r.git
https://<user>:<token>@git.test/r.git
redis://localhost:6379/0
mongodb://db1:27017,db2:27017/main
https://host:8080/path@version
http://[::1]:8080/
ssh://git@host:22/r.git
git@github.com:owner/repository.git
https://user@host.test/
password: !vault |
password: !Ref DatabasePassword
token: op://vault/item/field
secret: arn:aws:secretsmanager:eu-west-1:1:secret:db
secret: vault:kv/data/db#password
password: ENC[AES256_GCM,data:abc]
secret: /run/secrets/db_password
secret: ./secrets/db.txt
pwd=/home/user/project1
PWD=/work/tree2
OLDPWD=/srv/app3
token: https://issuer.test/oauth2/token
sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
AKIAXXXXXXXXXXXXXXXX
Bearer xxxxxxxxxxxxxxxxxxxx
sk-your-key-here-0000
`

const CODE = `
const token = tokens[index]
const token = getToken(user1)
let password = prompt('password')
password = input("Password: ")
password = getpass.getpass()
password = os.environ["DB_PASSWORD"]
password = process.env.DB_PASSWORD2
password: config.database.password
const secret = await vault.read('kv/db1')
secret = base64.b64decode(data1)
secret: Buffer
readonly token: string
token: string | null
password: string;
password?: string
password: str = None
password: SecretStr
secret: Uint8Array
token: CancellationToken
token: Token2022
type Token = { kind: 'word2', text: string }
function token(this: Parser2) {}
if (token === undefined) return
if (token.type === 'number1') next()
if (password !== confirm2) throw new Error()
for (const token of tokens2) use(token)
password.length >= 8
expect(token).toBe(expected1)
token => token.text1
this.token = token
self.password = password
props.password = values.password1
secret = options?.secret1
apiKey: this.config.get('api.key1')
api_key = settings.api_key
token: \`\${prefix}1\`
password_hash = bcrypt.hash(password, 12)
passwordField: 'field-1'
password_file: /etc/pw1
token_count=1200
tokenIndex: 42
token_id: abc123def456
secretName: db-credentials-1
secret_name: my-app-tls-1
secretKeyRef: { name: db-secret-1, key: user1 }
secret: db-credentials-v2
secret: my-app-tls-2026
token: user-token-2
tokenizer: cl100k_base
tokenizer=bert-base-uncased-2
private_key_path=/etc/ssl/key1.pem
private_key: ./keys/id_ed25519
access_key_id: primary
encryption_key_version: 3
signing_key: ed25519
secret_type: aes256
password: pbkdf2_sha256
token: base64
secret: sha256
password: bcrypt
token: 1.2.3
token: 2026-11-29T04:05:06Z
token = 0
token += 1
secret ||= default1
export const PASSWORD_MIN = 12
#define TOKEN_MAX 128
"password": "Password"
"password": "Passwort"
"token": "Token"
"password": "required"
"password": { "type": "string", "minLength": 8 }
"token": { "type": "string" }
"secret": null
"apiKey": false
"tokens": 1532
"auth": { "type": "oauth2" }
"credentials": "include"
credentials: 'same-origin'
autocomplete="current-password"
<input type="password" name="password" id="password1">
<label for="password">Password</label>
<password></password>
i18n.t('password.reset2')
placeholder="your password"
password VARCHAR(255) NOT NULL
GRANT SELECT ON t TO 'user1' IDENTIFIED BY :password
SELECT password, token FROM users WHERE id = 1
import { token } from './token2.ts'
from secrets import token_hex
secrets.token_hex(32)
require('jsonwebtoken')
npm_config_cache=/tmp/npm
npm_package_name_of_the_thing
hf_hub_download(repo_id=x)
hf_transfer_is_enabled_by_default_now
gsk_backend_init
shpat_ prefix
xoxb- tokens
key-value-store-for-the-fleet
key-signature-of-the-piece
access_token$production$ is what it begins with
dapi = new Api2()
SG.init({ dsn })
sig=left&x=1
see RFC 6750 section 2.1: Bearer tokens
https://hooks.slack.com/services/
https://discord.com/api/webhooks/
this.config.password = (typeof config.password1 === 'string')
private_key: "_DSAPrivateKey"
key_password=key_password,
proxy_pass=url.password or None
give --username and --password options instead of an address
add basic WebAssembly test
auth=b.asm.d).apply(null)
password: (optional) if encrypted
docker run -u 1000:1000 image
chown root:root /etc/passwd
user:x:1000:1000:User:/home/user:/bin/bash
`

const COMMANDS = `
s2 worker join s2-join-LINE
s2-join- is how an invitation begins
s2 guard redeem reads the code from standard input
export GUARD_TOKEN="$(s2 guard redeem)"
redeem the voucher at the desk
echo HELLO-WORLD | wc -c
curl -u admin https://api.test/x
curl -u "$USER:$PASSWORD" https://api.test/x
curl -u admin:<password> https://api.test/x
curl -u user:password https://api.test/x
curl --user ${DOLLAR}CREDENTIALS} https://api.test/x
curl -o out.json https://api.test/x
docker run -u 1000:1000 --rm image
docker run -u node:node --rm image
docker run --user postgres:postgres --rm image
docker run --user=nobody:nogroup image
docker run -u $(id -u):$(id -g) image
docker run --name mysql -p3306:3306 -d mysql
docker run --name mysql -p 127.0.0.1:3306:3306 mysql
mysql -u root -p main
mysql -u root -p$MYSQL_PWD main
mysql --port 3306 --protocol tcp
mysql and mariadb keep their tables apart
ssh -p 2222 root@host
sshpass -p "$PASSWORD" ssh host
sshpass -f file ssh host
sshpass reads it from a file
git push -u origin main
git push --set-upstream origin HEAD:refs/heads/feature-12
date -u +%H:%M:%S
ps -u root
sudo -u postgres psql
systemctl --user restart s2-keepalive
journalctl --user -u s2-bridge
redis-cli -h cache ping
redis-cli -a $REDIS_PASSWORD ping
requirepass is off by default
# requirepass foobared
the requirepass option of Redis
machine learning needs no login
every machine has a login and a password
machine HOST login NAME password <password>
machine git.test login me password $PASSWORD
default login shell
login password: required
ports: 5432:5432
127.0.0.1:5432:5432
localhost:5432:main:app:$PGPASSWORD
hostname:port:database:username:password
db.test:5432 is up
arn:aws:logs:*:*:log-group:main
cpe:2.3:a:vendor:product:1.0:*:*:*:*:*:*:*
*:*:*:*:*
password: | # kept elsewhere
password: !vault |
run: |\\n  echo done
description: >\\n  a password is needed
AKIA is followed by sixteen characters
Kennwort: erforderlich
`

function digests(): string[] {
  const sha256 = (): string => digest('sha256')
  const sha1 = (): string => digest('sha1')
  const uuid = (): string => sha1().replace(/^(.{8})(.{4})(.{4})(.{4})(.{12}).*$/, '$1-$2-$3-$4-$5')
  return [
    `sha256:${sha256()}`,
    `sha512:${digest('sha512')}`,
    `SHA-512: ${digest('sha512')}`,
    `${digest('sha512')}  s2-0.1.0.tar.gz`,
    `"integrity": "${digest('sha512')}"`,
    `signature: ${digest('sha512')}`,
    `"sig":"${digest('sha512')}"`,
    `${digest('sha384')}`,
    `sha256=${sha256()}`,
    `sha256-${sha256()}`,
    `"sha256": "${sha256()}"`,
    `SHA-256: ${sha256()}`,
    `${sha256()}  s2-0.1.0.tar.gz`,
    `${sha256()} *dist/s2.js`,
    `digest: sha256:${sha256()}`,
    `"digest":"${sha256()}"`,
    `checksum = "${sha256()}"`,
    `"checksum": "${sha256()}"`,
    `--hash=sha256:${sha256()}`,
    `hash: ${sha256()}`,
    `{"seq":4,"hash":"${sha256()}"}`,
    `"h1:${digest('sha256', 'base64')}",`,
    `"zh:${sha256()}",`,
    `github.com/a/b v1.2.3 h1:${digest('sha256', 'base64')}`,
    `"integrity": "sha512-${digest('sha512', 'base64')}"`,
    `"integrity": "sha1-${digest('sha1', 'base64')}"`,
    `integrity="sha384-${digest('sha384', 'base64')}"`,
    `resolved "https://registry.test/x/-/x-1.0.0.tgz#${sha1()}"`,
    `FROM node@sha256:${sha256()}`,
    `docker://${sha256()}`,
    `containerd://${sha256()}`,
    `container ${sha256()} was started`,
    `/sys/fs/cgroup/docker/${sha256()}`,
    `image: r.test/a@sha256:${sha256()}`,
    `commit ${sha1()}`,
    `commit ${sha256()}`,
    `tree ${sha1()}`,
    `merge of ${sha1()} into main`,
    `index ${sha1().slice(0, 7)}..${sha1().slice(0, 7)} 100644`,
    `https://github.com/a/b/commit/${sha1()}`,
    `HEAD is now at ${sha1().slice(0, 8)} fleet: faster`,
    `etag: "${digest('md5')}"`,
    `md5 ${digest('md5')}`,
    `ETag: W/"${sha256()}"`,
    `nonce=${digest('sha256', 'base64url').slice(0, 22)}`,
    `"nonce":"${digest('md5')}"`,
    `content-digest: sha-256=:${digest('sha256', 'base64')}:`,
    `signature: s2=:${digest('sha256', 'base64')}:`,
    `id ${uuid()}`,
    `request ${uuid()} failed`,
    `incarnation ${uuid()}`,
    `traceparent: 00-${digest('md5')}-${digest('md5').slice(0, 16)}-01`,
    `conv_${sha1().slice(0, 16)}/b`,
    `idempotency key: ${uuid()}`,
    `key: linux-node-${sha256().slice(0, 40)}`,
    `cache key ${digest('md5')}`,
    `SHA256:${digest('sha256', 'base64').slice(0, 43)} user@host (ED25519)`,
    `ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI${digest('sha256', 'base64url').slice(0, 43)} me@host`,
    `ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB${digest('sha512', 'base64')} me@host`,
    `age1${digest('sha256').slice(0, 58)}`,
    `"public_key": "${digest('sha256', 'base64')}"`,
    `-----BEGIN CERTIFICATE-----\n${digest('sha384', 'base64')}\n-----END CERTIFICATE-----`,
    `-----BEGIN PUBLIC KEY-----\n${digest('sha384', 'base64')}\n-----END PUBLIC KEY-----`,
    `{"kty":"EC","crv":"P-256","x":"${digest('sha256', 'base64url')}","y":"${digest('sha256', 'base64url')}"}`,
    `eyJhbGciOiJIUzI1NiJ9 is the first part`,
    `eyJhbGciOiJIUzI1NiJ9.eyJ9`,
    `eyJ${digest('sha512', 'base64url')}`,
  ]
}

/** What programs print and files hold by the hundred. */
function masses(): string[] {
  const base64 = Array.from({ length: 40 }, () => digest('sha512', 'base64')).join('')
  const images = ['png', 'gif', 'webp'].map((type) => `<img src="data:image/${type};base64,${base64}">`)
  const lines = Array.from({ length: 30 }, (_, index) => {
    const at = `2026-11-29T04:${String(index).padStart(2, '0')}:06.123Z`
    const id = digest('sha1').slice(0, 16)
    return [
      JSON.stringify({
        at,
        level: 'info',
        program: 'bridge',
        event: 'request refused',
        id: `${id}-${index}`,
        code: 'invalid',
        what: '/v1/send',
        who: `conv_${id}/a`,
      }),
      `${at} worker-${index}: task-${index} (P${index % 4}, epoch ${index}) ended with exit code ${index % 3}`,
      `    "node_modules/pkg-${index}": { "version": "1.${index}.0", "integrity": "sha512-${digest('sha512', 'base64')}" },`,
      `function a${index}(e,t){return e.token===t.token?e.password.length>${index}:!1}var b${index}=e=>{const{secret:t,...n}=e;return n};`,
    ]
  }).flat()
  const wrapped = `${digest('sha512', 'base64').slice(0, 76)}\n`.repeat(40)
  return [
    ...images,
    ...lines,
    wrapped,
    'a'.repeat(5_000),
    '0123456789abcdef'.repeat(300),
    'node_modules/.cache/some-very-long-name-of-a-file-that-nobody-would-type-by-hand-v2.1.3.test.ts'.repeat(4),
    `${'token '.repeat(400)}`,
    'secret: |\n  see the wiki of the team\n',
    'password: |\n  <password>\nuser: app\n',
    `token: >\n  ${DOLLAR}TOKEN}\n`,
    `description: |\n  a token of ${digest('md5')} bytes`,
    `Traceback (most recent call last):\n  File "/app/token.py", line 12, in token\n    token = next(tokens)\nStopIteration`,
  ]
}

export function falseSamples(): string[] {
  drawn = 0
  const written = [PROSE, STAND_INS, CODE, COMMANDS].flatMap((text) => text.trim().split('\n'))
  return [...written, ...digests(), ...masses()]
}
