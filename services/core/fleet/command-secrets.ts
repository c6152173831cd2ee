import { secretKind as kind, type SecretKind } from './secret-kind.ts'
import { isPassword } from './secret-value.ts'

/** What a program takes for a password, a person typed, and it may be a word. */
const typed = { accepts: isTyped } as const
/** An option that other programs have too: a word after it is none. */
const mixed = { accepts: (secret: string) => isTyped(secret) && /\d|[^\w\s-]/.test(secret) } as const

const BLANK = String.raw`(?:\s|\\{1,4}[nrt])`
const QUOTE = String.raw`(?:\\{0,3}["'])?`
const WORD = String.raw`[^\s"'\x60\\]{4,300}`
const USER = String.raw`[\w.@+-]{1,64}`
const GUARD_CODE = '[A-Z2-9]{5}-[A-Z2-9]{5}'
const CURL = 'curl.se/docs/manpage.html'

/** Secrets that are known by the command or the file that they stand in, and S2's own lines. */
export const COMMAND_SECRETS: readonly SecretKind[] = [
  kind('s2-invitation', 's2-join-', 's2-join-[A-Za-z0-9_-]{20,}', 'docs/protocol.md'),
  kind('guard-code', 'redeem', String.raw`redeem[^A-Z\r\n]{1,24}(?<secret>${GUARD_CODE})(?![\w-])`, 'docs/operate.md'),
  kind(
    'guard-code',
    'echo printf',
    String.raw`(?:echo|printf)\s{1,3}(?:-n\s)?${QUOTE}(?<secret>${GUARD_CODE})(?=${QUOTE}\s{0,3}\|\s{0,3}(?:sudo\s)?s2\s{1,3}guard\s{1,3}redeem)`,
    'docs/operate.md',
  ),
  kind('password', ['-u ', "-u'", '-u"', '--user ', '--user='], userAndSecret(), CURL, mixed),
  kind('password', ['-u ', "-u'", '-u"', '--user ', '--user='], userAndSecret(), CURL, {
    ...typed,
    start: String.raw`(?<=\bcurl[^\r\n|;]{0,40}\s)`,
  }),
  kind(
    'password',
    'sshpass',
    `sshpass\\s{1,4}(?:-v\\s{1,4})?-p\\s{0,4}${QUOTE}(?<secret>${WORD})`,
    'man7.org/sshpass',
    typed,
  ),
  kind(
    'password',
    'mysql mariadb',
    String.raw`(?:mysql|mariadb)[^\r\n|;&]{0,100}?\s-p${QUOTE}(?<secret>(?!\d{1,5}:|[\d.]{7,15}:)${WORD})`,
    'dev.mysql.com/doc/refman/8.4/en/password-security-user.html',
    typed,
  ),
  kind(
    'password',
    'redis-cli',
    String.raw`redis-cli[^\r\n|;&]{0,100}?\s(?:-a|--pass)\s{1,4}${QUOTE}(?<secret>${WORD})`,
    'redis.io/docs/latest/develop/tools/cli',
    typed,
  ),
  kind(
    'password',
    'requirepass masterauth',
    String.raw`(?:requirepass|masterauth)${QUOTE}[ \t:=,]{1,4}${QUOTE}(?<secret>${WORD})`,
    'redis.io/docs/latest/operate/oss_and_stack/management/security',
    mixed,
  ),
  kind(
    'password',
    'login',
    `login${BLANK}{1,8}[^\\s\\\\"']{1,100}${BLANK}{1,8}(?:account${BLANK}{1,8}[^\\s\\\\"']{1,100}${BLANK}{1,8})?password${BLANK}{1,8}(?<secret>${WORD})`,
    'gnu.org/software/inetutils/manual: the .netrc file',
    { ...typed, start: String.raw`(?<=\bmachine${BLANK}{1,8}[\w.:@-]{1,100}${BLANK}{1,8}|\bdefault${BLANK}{1,8})` },
  ),
  kind(
    'password',
    ':5432: :5433: :5434: :6432: :15432: :*:',
    String.raw`:(?:\d{1,5}|\*):[^\s:"'\\/]{1,64}:[^\s:"'\\/]{1,64}:(?<secret>${WORD})`,
    'postgresql.org/docs/current/libpq-pgpass.html',
    { ...typed, start: String.raw`(?<=(?:^|[\s"'\x60]|\\n)[\w.*-]{1,100})` },
  ),
  kind(
    'aws-secret-key',
    'akia asia',
    String.raw`A[KS]IA[A-Z0-9]{16}[^A-Za-z0-9+/\r\n\\]{1,12}(?:secret[a-z_ ]{0,20}[^A-Za-z0-9+/\r\n\\]{1,6})?(?<secret>[A-Za-z0-9+/]{40})(?![A-Za-z0-9+/=])`,
    'docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_access-keys.html',
    { accepts: (secret) => /[a-z]/.test(secret) && /[A-Z]/.test(secret) && /\d|\+|\//.test(secret) },
  ),
]

function userAndSecret(): string {
  return String.raw`(?:-u\s?|--user[ =])${QUOTE}${USER}:(?<secret>${WORD})`
}

function isTyped(secret: string): boolean {
  return !/^[\d:.]+$/.test(secret) && isPassword(secret, { isQuoted: false, separator: '=', isSpaced: false })
}
