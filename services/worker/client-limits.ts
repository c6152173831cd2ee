import { textHead } from '#fleet/cut-text.ts'

/**
 * What the clients of agents print when they may not work now: a limit of use is reached, nobody is logged in, or the service
 * behind them is away. Their exit code is 1 then, as for every failure, so only their words tell it apart. Seen with Claude Code
 * 2.1.197 and Codex 0.171.0; older wordings, and those of accounts that nobody here has, are from their sources and reports.
 */

export type ClientKind = 'claude' | 'codex'

/** What a client may be called in a command line: its program, or its package. */
const NAMES: Readonly<Record<ClientKind, readonly string[]>> = {
  claude: ['claude', 'claude-code'],
  codex: ['codex'],
}

/** Wordings of each client, as they stand at the beginning of what it says. */
const WORDINGS: Readonly<Record<ClientKind, readonly RegExp[]>> = {
  claude: [
    /You['’]ve (?:hit|reached) your (?:[\w-]+ ){0,3}limit\b/i,
    /You['’]re out of extra usage\b/i,
    /Claude (?:AI )?usage limit reached\b/i,
    /(?:5-hour|session|weekly|monthly|usage|Opus|Sonnet)(?: \w+)? limit reached\b/i,
    /Credit balance is too low\b/i,
    /Not logged in\b/i,
    /Invalid API key\b/i,
    /(?:Please )?run \/login\b/i,
    /Failed to authenticate\b/i,
    /OAuth token (?:has )?(?:been )?(?:expired|revoked)\b/i,
    /Your account does not have access to Claude\b/i,
    /(?:This|Your) organization has (?:been )?disabled\b/i,
    /Request rejected \(429\)/i,
    /API Error: (?:Rate limit reached\b|Repeated 529\b|401\b|5\d\d\b)/i,
    /Unable to connect to API\b/i,
  ],
  codex: [
    /You['’]ve hit your usage limit\b/i,
    /(?:The )?usage limit has been reached\b/i,
    /Quota exceeded\b/i,
    /Your workspace is out of credits\b/i,
    /You hit your spend cap\b/i,
    /To use Codex with your ChatGPT plan, upgrade\b/i,
    /Not logged in\b/i,
    /Please log ?in\b/i,
    /(?:unexpected status |Failed to refresh token: |stream error: )?401 Unauthorized\b/i,
    /Your access token could not be refreshed\b/i,
    /(?:stream error: )?exceeded retry limit, last status: (?:401|429|5\d\d)\b/i,
    /We['’]re currently experiencing high demand\b/i,
  ],
}

/** A client speaks at the beginning of a line, behind marks or a word like ERROR, or in a text of the JSON that it prints. */
const BEGINNING = String.raw`(?:^[^\p{L}\p{N}"]*(?:error:?\s+)?|"(?:result|message|text|error)":\s*")(?:API Error:\s*)?`
/** Characters that are shown of what it says. */
const SAID_MAX = 200

const PATTERNS: Readonly<Record<ClientKind, RegExp>> = {
  claude: patternOf(WORDINGS.claude),
  codex: patternOf(WORDINGS.codex),
}

function patternOf(wordings: readonly RegExp[]): RegExp {
  return new RegExp(`${BEGINNING}(?<said>(?:${wordings.map(({ source }) => source).join('|')})[^"\\\\]*)`, 'iu')
}

/** The client that a command line starts; null where it is none of those that are known. */
export function clientKindOf(programs: readonly string[]): ClientKind | null {
  const names = programs.map((program) => /([^/@]+)(?:@[^/]*)?$/.exec(program)?.[1] ?? program)
  const kinds = Object.entries(NAMES) as [ClientKind, readonly string[]][]
  return kinds.find(([, known]) => names.some((name) => known.includes(name)))?.[0] ?? null
}

/** What a client says of why it may not work, in these lines; null where it does not. The last word counts. */
export function limitIn(kind: ClientKind, lines: readonly string[]): string | null {
  for (const line of lines.toReversed()) {
    const said = PATTERNS[kind].exec(line)?.groups?.said
    if (said !== undefined) return textHead(said.trim(), SAID_MAX)
  }
  return null
}
