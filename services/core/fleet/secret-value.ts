/**
 * Tells values that are secrets from what else stands after `password:` and the like: placeholders, references to where the
 * secret is, types, code, and prose.
 */

/** How a value was written. */
export interface ValueContext {
  readonly isQuoted: boolean
  /** What stands between name and value, without blanks: `=`, `:`, `is`, … */
  readonly separator: string
  /** Whether blanks stand around the separator. */
  readonly isSpaced: boolean
}

/** A password may be short and a word; it is prose or code that has to be told from it. */
export function isPassword(value: string, context: ValueContext): boolean {
  if (value.length < 4 || isStandIn(value)) return false
  if (/^\d+$/.test(value)) return value.length >= 6
  if (/^["']?[A-Za-z]+["']?$/.test(value)) return isWordAsPassword(value, context)
  if (!context.isQuoted && isCode(value)) return false
  if (context.isQuoted && /\s/.test(value)) return isPhrase(value, context)
  if (
    /^(?:pass(?:word|wd)?|pwd|user|input|arg|str|field|param|var|value|col|column|attempt|step|line)_?\d{0,2}$/i.test(
      value,
    )
  )
    return false
  if (/[^A-Za-z0-9]/.test(value) && isWords(value))
    return context.separator === '=' && !context.isSpaced && value.length >= 8 && !/pass|pwd|secret|token/i.test(value)
  return /\d/.test(value) || /[^\w\s]./.test(value)
}

/** Secrets, tokens and keys are longer, and random. */
export function isSecret(value: string, context: ValueContext): boolean {
  if (value.length < 6 || isStandIn(value) || /\s/.test(value)) return false
  if (!context.isQuoted && isCode(value)) return false
  if (/^[\d.,:_-]+$/.test(value)) return false
  return !isWords(value) || isRandomLetters(value)
}

export function isToken(value: string, context: ValueContext): boolean {
  return value.length >= 8 && isSecret(value, context)
}

/** Holds for text in the form of a token that somebody wrote to stand for one: `ghp_xxxxxxxx`. */
export function isMadeUp(value: string): boolean {
  return /[xX]{8}/.test(value) || (value.length < 80 && /your[-_]|[-_]key-here|placeholder|redacted/i.test(value))
}

/** Placeholders, references, types and other words that stand where a secret would. */
function isStandIn(value: string): boolean {
  return STAND_INS.some((pattern) => pattern.test(value))
}

const STAND_INS: readonly RegExp[] = [
  // a variable or template: $NAME ${NAME} $(cmd) {{ name }} {name} %NAME% %(name)s #{name} <name> [name] :name @name
  /^(?:\$[A-Za-z_{(]|\{|%[\w(]*|#\{|<|\[|[:@]\w+$|__\w+__$|\\?\$\{|`)/,
  /\$\{\w|\{\{|\$\(/,
  /^!(?:vault|Ref|Sub|GetAtt|secret|env|reference|!)/,
  /^(?:enc\[|vault:|ssm:|arn:|op:\/\/|env[:.]|file:|secretsmanager:|kms:)/i,
  // masked, or to be filled in
  /[xX]{4}|[*•]{3}|_{4}|^.{0,10}(?:\.{3}|…).{0,6}$|^-+$|^\W+$/,
  /^(.)\1{5,}$/,
  /^(?:your|insert|replace|enter|change|choose|put|add|use|set|see|todo|tbd|fixme|the|some|any|my|a)(?:[-_ ]|$)/i,
  /^(?:your|insert|replace|enter)[A-Z]/,
  /(?:^|[-_ ])(?:your|here|placeholder|example|dummy|redacted|changeme|goes)(?:[-_ ]|$)/i,
  /^(?:example|sample|placeholder|dummy|fake|redacted|masked|hidden|removed|omitted|changeme|password|passwd|secret|token|api[-_]?key|apikey)$/i,
  // a type, an algorithm or a word of a schema
  /^(?:none|null|nil|undefined|true|false|yes|no|on|off|empty|unset|n\/a|required|optional|missing|invalid|incorrect|wrong|expired|unknown|default|disabled|enabled|auto|self|this|super|void|any|object|string|str|text|bytes|number|integer|int|bool(?:ean)?|bearer|basic|digest)\b/i,
  /^(?:u?int\d+|float\d+|Uint8Array|Buffer|Bytes\d+|varchar|char|sha-?\d+|sha3|md5|base-?(?:16|32|58|64)|utf-?(?:8|16)|latin1|ascii|oauth-?2?|openid|argon2\w*|bcrypt|scrypt|pbkdf2\w*|hs\d{3}|rs\d{3}|es\d{3}|ed25519|x25519|rsa-?\d*|aes-?\d*|x\.?509|hmac\w*|jwt|tls1?|v\d+)(?:[^A-Za-z0-9]|$)/i,
  // a date, a path, an address
  /^\d{4}-\d\d-\d\d/,
  /^(?:~|\.{1,2})?\/(?:[\w.@-]{0,40}\/){0,12}[\w.@-]{0,40}$/,
  /^(?:[A-Za-z]:\\|(?:https?|ftp|wss?|ssh|s3|gs):\/\/)/,
]

/** An expression of a programming language, as it stands without quotes. */
function isCode(value: string): boolean {
  return (
    /^[A-Za-z_$][\w$]*(?:(?:\?\.|\.|->|::)[A-Za-z_$][\w$]*)*[([{]/.test(value) ||
    /^(?:config|cfg|conf|self|this|env|process|os|settings|options|opts|req|request|res|response|user|args|argv|ctx|context|secrets|vault|data|var|vars|local|locals|module|params|props|state|credentials|creds|session|account|auth|client|form|body|input|event|payload|result|object|obj|row|item|steps|inputs|github|values|System|Environment|import|lambda|async|await|new|return|typeof)(?:\?\.|\.|->|::|\[)/.test(
      value,
    ) ||
    /^[A-Za-z_$][\w$]{0,30}(?:\??\.[A-Za-z_$][\w$]{0,30})+[?!=<>|&+*:%^)]/.test(value) ||
    /^[A-Za-z_$][\w$]*(?:\?\?|\|\||=>|\+\+|\+=|::)/.test(value) ||
    /^\(|\(\)$/.test(value)
  )
}

/** Words joined by dashes, dots or capitals, with short numbers between: names of things, not secrets. */
function isWords(value: string): boolean {
  if (value.length > 80 || !/^[\w./:+@-]+$/.test(value)) return false
  const parts = value.split(/[-_./:+@]+|(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])/)
  const words = parts.filter((part) => /^(?:[A-Za-z][a-z]{1,17}|[A-Z]{2,18})s?\d{0,4}$/.test(part))
  const small = parts.filter((part) => /^(?:|[A-Za-z]|v?\d{1,4})$/.test(part))
  return words.length > 0 && words.length + small.length === parts.length && small.length <= words.length + 1
}

/** Letters alone, whose case changes too often for words. */
function isRandomLetters(value: string): boolean {
  if (value.length < 16) return false
  const changes = value.match(/[a-z](?=[A-Z])|[A-Z](?=[a-z])/g)?.length ?? 0
  const vowels = value.match(/[aeiou]/gi)?.length ?? 0
  return /^[A-Za-z]+$/.test(value) && (changes / value.length > 0.3 || vowels / value.length < 0.2)
}

/** A word is a password where a machine wrote it: `password=letmein`, and not `password: wrong`. */
function isWordAsPassword(value: string, { separator, isSpaced, isQuoted }: ValueContext): boolean {
  if (value.length < 6 || isRandomLetters(value)) return value.length >= 6
  if (/^[A-Z_]+$/.test(value) || /[a-z][A-Z]/.test(value)) return false
  return separator.startsWith('=') && (isQuoted || !isSpaced)
}

/** Some words in quotes; what a program says of a password has a capital or a stop. */
function isPhrase(value: string, { separator }: ValueContext): boolean {
  if (/^\s|\s$|[.!?:]$|[()<>{}]/.test(value)) return /\d/.test(value) && !/\s\s/.test(value) && !/[.?:]$/.test(value)
  if (/^(?:[A-Za-z]+ ){2,7}[A-Za-z]+$/.test(value)) return separator.startsWith('=') && /^[a-z ]+$/.test(value)
  return /\d/.test(value) && value.split(/\s+/).length <= 6
}
