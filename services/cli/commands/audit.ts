import { type Command, InvalidArgumentError } from 'commander'
import { type CommandContext, ENDING_SIGNALS } from '#console/context.ts'
import { EXIT, Exit } from '#console/failure.ts'
import { commandEnv } from '#console/state-folder.ts'
import { reachAdministration } from '#console/store-access.ts'
import { counted, plain } from '#console/terminal-text.ts'
import { AUDIT_ROOT, type AuditEntry } from '#fleet/audit.ts'
import type { SignedHead } from '#fleet/audit-head.ts'
import { parseInstant } from '#fleet/credential.ts'
import { S2Error } from '#fleet/errors.ts'
import { PUBLIC_KEY } from '#fleet/identity.ts'
import { parseDuration } from '#runtime/duration.ts'
import { readSettings } from '#runtime/read-settings.ts'
import { segmentsFolder } from '#store/sqlite/audit/segment-file.ts'
import { readTrail, storeIdIn, verifyTrail } from '#store/sqlite/audit/trail.ts'
import type { TrailReport } from '#store/sqlite/audit/trail-report.ts'
import { kindOfTrail, verifyExport, verifySegment } from '#store/sqlite/audit/verify-lines.ts'
import { entryOf } from '#store/sqlite/tables/audit-chain.ts'
import type { Store } from '#store/store.ts'
import { type EntryFilter, entryAsLine, entryInWords, matches } from '../audit/entry-text.ts'
import { ownHeads, ownKey, readHeads } from '../audit/kept-heads.ts'
import { databasePath } from '../local-database.ts'
import { count } from '../option-parsers.ts'

const EXAMPLES = `
Examples:
  s2 audit tail --follow
  s2 audit search --who conv_0123456789abcdef/b --since 24h
  s2 audit search --result unauthenticated
  s2 audit export --jsonl > trail.jsonl
  s2 audit verify                          the database of this host, its segments and the heads it kept
  s2 audit verify --head head.json         against a head that was kept elsewhere
  s2 audit verify trail.jsonl

search, export and verify read the files of this host and need no bridge. verify ends with 1 where anything is wrong, and
where heads were kept and none of them stands in the trail.`

export function define(command: Command, context: CommandContext): void {
  command.addHelpText('after', EXAMPLES)
  const times = (subcommand: Command): Command =>
    subcommand
      .option('--since <time>', 'only from this time on: an instant, or so long ago such as 24h', timeFor(context))
      .option('--until <time>', 'only before this time', timeFor(context))
  command
    .command('tail')
    .description('show the newest acts')
    .option('-n, --lines <n>', 'how many', count, 20)
    .option('--follow', 'go on with those that come')
    .option('--json', 'print JSON, one entry a line')
    .action((_, subcommand: Command) => tail(context, subcommand.optsWithGlobals<TailOptions>()))
  times(command.command('search'))
    .description('find acts')
    .argument('[text]', 'text that the entry contains')
    .option('--who <actor>', 'who did it: a session, a conversation, admin or a program')
    .option('--what <subject>', 'what it was done to, such as task/build or message/12')
    .option('--action <action>', 'what was done, such as send')
    .option('--result <result>', 'how it ended: done, or the code of a refusal')
    .option('--json', 'print JSON, one entry a line')
    .action((text: string | undefined, _, subcommand: Command) =>
      search(context, { ...subcommand.optsWithGlobals<SearchOptions>(), ...(text === undefined ? {} : { text }) }),
    )
  times(command.command('export'))
    .description('print the whole trail, with an id to cite each entry by')
    .option('--jsonl', 'as JSON, one entry a line: the only form there is')
    .option('--json', 'the same')
    .action((_, subcommand: Command) => exportTrail(context, subcommand.optsWithGlobals<EntryFilter>()))
  command
    .command('verify')
    .description('go through the whole trail and say what was altered, and where')
    .argument('[file]', 'a database, a backup, a segment or an export; left out: the database of this host')
    .option('--head <file>', 'heads that were kept elsewhere, one a line; may be given again', repeated)
    .option('--key <key>', 'a key whose heads count, may be given again; left out: that of this host', repeated)
    .option('--segments <folder>', 'where the segments lie')
    .option('--json', 'print JSON')
    .action((file: string | undefined, _, subcommand: Command) =>
      verify(context, file, subcommand.optsWithGlobals<VerifyOptions>()),
    )
}

interface TailOptions {
  readonly lines: number
  readonly follow?: true
  readonly json?: true
}

type SearchOptions = EntryFilter & { readonly json?: true }

interface VerifyOptions {
  readonly head?: readonly string[]
  readonly key?: readonly string[]
  readonly segments?: string
  readonly json?: true
}

const LOOK_MS = 500
const PAGE = 1_000

async function tail(context: CommandContext, { lines, follow, json }: TailOptions): Promise<void> {
  await using reached = await reachAdministration(context)
  const { store } = reached
  const ending = new AbortController()
  using _ = context.onSignal(ENDING_SIGNALS, () => ending.abort())
  const { seq } = await store.auditHead()
  let last = Math.max(0, seq - lines)
  for (;;) {
    last = await printAfter(context, store, last, json === true)
    if (follow !== true || ending.signal.aborted) return
    await context.clock.sleep(LOOK_MS, ending.signal).catch(() => undefined)
  }
}

/** Prints the entries after one; answers the last. */
async function printAfter(context: CommandContext, store: Store, after: number, asJson: boolean): Promise<number> {
  let last = after
  for (;;) {
    const entries = await store.audit(last, PAGE)
    for (const entry of entries) printEntry(context, entry, asJson)
    last = entries.at(-1)?.seq ?? last
    if (entries.length < PAGE) return last
  }
}

function printEntry(context: CommandContext, entry: AuditEntry, asJson: boolean): void {
  context.print(`${asJson ? JSON.stringify(entry) : entryInWords(entry)}\n`)
}

async function search(context: CommandContext, { json, ...filter }: SearchOptions): Promise<void> {
  const path = databasePath(commandEnv(context))
  let found = 0
  for await (const row of readTrail(path, segmentsFolder(path))) {
    const entry = entryOf(row)
    if (!matches(entry, filter)) continue
    found += 1
    printEntry(context, entry, json === true)
  }
  if (found === 0 && json !== true) context.tell('s2: no act of the trail is like that\n')
}

async function exportTrail(context: CommandContext, { since = 0, until }: EntryFilter): Promise<void> {
  const path = databasePath(commandEnv(context))
  const store = storeIdIn(path) ?? 'none'
  let previous = AUDIT_ROOT
  let isBegun = false
  for await (const row of readTrail(path, segmentsFolder(path))) {
    if (isBegun && until !== undefined && row.at >= until) return
    isBegun ||= row.at >= since && (until === undefined || row.at < until)
    if (isBegun) context.print(`${entryAsLine(entryOf(row), store, previous)}\n`)
    previous = row.hash
  }
}

async function verify(context: CommandContext, file: string | undefined, options: VerifyOptions): Promise<void> {
  const env = commandEnv(context)
  const { S2_STATE: state } = readSettings(env, ['S2_STATE'])
  const path = file ?? databasePath(env)
  for (const key of options.key ?? []) demandKey(key)
  const own = await ownKey(state)
  const keys = options.key ?? (own === null ? null : [own])
  if (keys === null && options.json !== true)
    context.tell(
      's2: this host has no keys, so heads count by whomever they are signed; name the key that counts by --key\n',
    )
  const heads: SignedHead[] = [
    ...(file === undefined ? ownHeads(state) : []),
    ...(options.head ?? []).flatMap((each) => readHeads(each)),
  ]
  const parts = {
    heads,
    keys: keys === null ? null : new Set(keys),
    onProgress: (entries: number) => {
      if (context.screen.isTerminal) context.tell(`s2: ${entries} entries gone through\n`)
    },
  }
  const kind = await kindOfTrail(path)
  const segments = options.segments ?? (file === undefined ? segmentsFolder(path) : null)
  const report =
    kind === 'database'
      ? await verifyTrail(path, { ...parts, segments })
      : await (kind === 'segment' ? verifySegment : verifyExport)(path, parts)
  context.print(
    options.json === true
      ? `${JSON.stringify({ path, kind, whole: report.verdict === 'whole', key: own, ...report }, null, 2)}\n`
      : `${reportInWords(path, report).map(plain).join('\n')}\n`,
  )
  if (report.verdict !== 'whole') throw new Exit(EXIT.failed)
}

function demandKey(key: string): void {
  if (PUBLIC_KEY.test(key)) return
  throw new S2Error('invalid', `--key ${key} is no key: it has 43 letters, digits, dashes and underscores`, {
    next: 'name the "key" of a line of audit-heads.jsonl',
  })
}

function reportInWords(path: string, report: TrailReport): string[] {
  const { faults, notes, entries, first, last, segments, foreign, heads } = report
  const range = entries === 0 ? 'no entries' : `${entries} ${entries === 1 ? 'entry' : 'entries'}, ${first} to ${last}`
  return [
    path,
    `  ${range}: ${verdictInWords(report)}`,
    `  ${counted(segments, 'segment')}; ${counted(foreign.rows, 'foreign row')} sealed, ${foreign.unsealed} not yet`,
    `  ${counted(heads.matched, 'kept head')} match, ${heads.unchecked} are of before; ${endInWords(report)}`,
    ...notes.map((note) => `  note: ${note}`),
    ...faults.map(({ kind, text }) => `  ${kind}: ${text}`),
  ]
}

function verdictInWords({ verdict, faults, heads }: TrailReport): string {
  if (verdict === 'altered') return `altered: ${counted(faults.length, 'fault')}`
  return verdict === 'whole' ? 'whole' : `unproven: ${counted(heads.kept, 'kept head')}, and none of them stands in it`
}

/** A chain that was cut is whole up to its cut. */
function endInWords({ head, endedAt, heads, verdict }: TrailReport): string {
  const end = endedAt === null ? 'it is empty' : `it ends at entry ${head.seq} of ${instant(endedAt)}, ${head.hash}`
  return heads.matched > 0 || verdict === 'altered' ? end : `${end}: only a kept head shows whether more was cut off`
}

function instant(ms: number): string {
  return new Date(ms).toISOString()
}

function repeated(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value]
}

/** Milliseconds since 1970 of an instant such as 2026-11-29T04:00:00Z, or of a time that is so long ago, such as 24h. */
function timeFor({ clock }: CommandContext): (text: string) => number {
  return (text) => {
    const instant = parseInstant(text)
    if (instant !== null) return instant
    try {
      return clock.wall() - parseDuration(text)
    } catch {
      throw new InvalidArgumentError('It must be an instant such as 2026-11-29T04:00:00Z, or a duration such as 24h.')
    }
  }
}
