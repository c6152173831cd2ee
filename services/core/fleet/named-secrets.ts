import { isPassword, isSecret, isToken, type ValueContext } from './secret-value.ts'

/** What is called a secret by the name before it: `password: …`, `"apiKey": "…"`, `--token …`, `<secret>…`. */
export interface NamedSecret {
  /** What the mark calls it. */
  readonly name: string
  readonly keywords: readonly string[]
  readonly accepts: (value: string, context: ValueContext) => boolean
}

/**
 * The Python bridge knows password, passwd, pwd, api_key, apikey and secret; the others are those of the environment variables
 * and settings that vendors document.
 */
export const NAMED_SECRETS: readonly NamedSecret[] = [
  {
    name: 'password',
    keywords: [
      'password',
      'passwd',
      'pwd',
      'passphrase',
      'passcode',
      'passwort',
      'kennwort',
      '_pass',
      '-pass',
      '"pass"',
      'dbpass',
    ],
    accepts: isPassword,
  },
  {
    name: 'api-key',
    keywords: ['api_key', 'apikey', 'api-key', 'api key', 'access_key', 'access-key', 'accesskey'],
    accepts: isSecret,
  },
  {
    name: 'secret',
    keywords: [
      'secret',
      ...[
        'private',
        'encryption',
        'signing',
        'auth',
        'master',
        'account',
        'deploy',
        'license',
        'session',
        'hmac',
      ].flatMap((word) => [`${word}_key`, `${word}-key`, `${word}key`]),
      'credential',
      '"auth"',
      '_auth',
    ],
    accepts: isSecret,
  },
  { name: 'token', keywords: ['token'], accepts: isToken },
]

/** How long a value may be that is looked at; one that is taken goes on to its end, however far. */
const VALUE_MAX = 256

/**
 * Matches what may stand between the keyword and the value, and the value. A name ends in the keyword, but for an ending of
 * a few known words: `token_count` and `secretName` hold no secret.
 */
const SOURCE = [
  String.raw`(?:[_-]?(?:access|key|value|base|base64|string|data|prod|production|dev|staging|test|live|old|new|current|primary|secondary|\d{1,2})(?![a-z])){0,3}`,
  String.raw`(?<close>\\{0,3}["'\x60])?\]?`,
  // the type of a declaration
  String.raw`(?:\s?\??:\s?(?:str|string|String|SecretStr|Optional\[str\])(?=\s?=))?`,
  // a block of YAML: its first line, where it is one word
  String.raw`(?:[ \t]{0,8}:[ \t]{0,8}[|>][+-]?\d?[ \t]{0,8}(?:\r?\n|(?:\\{1,4}r)?\\{1,4}n)[ \t]{1,40}(?<lined>[^\s"'\x60\\]{1,${VALUE_MAX}})(?=[ \t]{0,8}(?:$|[\r\n"'\\]))|`,
  '(?:',
  String.raw`(?<before>[ \t]{0,8})(?<separator>=>|={1,3}|:=|:|%3D|\\u003d)(?<after>[ \t]{0,8})`,
  String.raw`|(?<says>[ \t]{1,2}(?:is|was)(?::[ \t]?|[ \t]))`,
  // an option and its value, alone or in a list
  String.raw`|(?<=--[\w-]{1,40})(?<option>[ \t]{1,2})`,
  String.raw`|(?<=--[\w-]{1,40}["'])(?<item>,\s?)`,
  // an element of XML
  String.raw`|(?<=<[\w:.-]{1,40})(?<element>>(?=[^<\s]{1,80}</))`,
  // a name in one field, its value in the next
  String.raw`|(?<field>[,\s]{1,20}["']?value["']?[ \t]{0,3}[:=][ \t]{0,3})`,
  ')',
  '(?:',
  String.raw`(?<quote>\\{0,3}["'\x60])(?<quoted>(?:(?!\k<quote>)(?:\\.|[^\r\n\\"])){1,${VALUE_MAX}})`,
  String.raw`|(?<bare>(?:\\[^"'nrt\s]|[^\s"'\x60,;&\\<]){1,${VALUE_MAX}})`,
  '))',
].join('')

/** The groups by number: a match that has them by name costs six times as much. */
const GROUPS = [...SOURCE.matchAll(/\(\?<([a-z]+)>/g)].map(([, name]) => name)
export const NAME_AND_VALUE = new RegExp(
  SOURCE.replaceAll(/\(\?<[a-z]+>/g, '(').replaceAll(String.raw`\k<quote>`, `\\${numberOf('quote')}`),
  'iy',
)
const [QUOTED, LINED, BARE] = [numberOf('quoted'), numberOf('lined'), numberOf('bare')]
const [SEPARATOR, BEFORE, AFTER] = [numberOf('separator'), numberOf('before'), numberOf('after')]
const NAMED_OTHERWISE = ['lined', 'item', 'element', 'field'].map(numberOf)

function numberOf(group: string): number {
  return GROUPS.indexOf(group) + 1
}

/** The rest of a value that is longer than `VALUE_MAX`. */
export const REST_OF_VALUE = /[^\s"'`,;&\\<]*/y

/** The value of a match of `NAME_AND_VALUE`, and how it was written. */
export interface WrittenValue extends ValueContext {
  readonly value: string
  /** Ends where the text says so, and not where it looks like an end. */
  readonly isDelimited: boolean
}

export function readValue(match: RegExpExecArray): WrittenValue {
  const quoted = match[QUOTED]
  const delimited = quoted ?? match[LINED]
  const shown = match[SEPARATOR]?.replace(/^%3D$|^\\u003d$/i, '=')
  return {
    value: delimited ?? match[BARE] ?? '',
    isDelimited: delimited !== undefined,
    isQuoted: quoted !== undefined,
    separator: shown ?? (NAMED_OTHERWISE.some((group) => match[group] !== undefined) ? '=' : ':'),
    isSpaced: `${match[BEFORE] ?? ''}${match[AFTER] ?? ''}` !== '',
  }
}
