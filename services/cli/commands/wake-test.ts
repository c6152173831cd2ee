import { randomBytes } from 'node:crypto'
import { type Command, Option } from 'commander'
import { CLIENTS, type Client, type ClientSession } from '#agents/client-session.ts'
import { readClientSessions } from '#agents/client-sessions-folder.ts'
import type { WakeAdapter } from '#agents/wake/adapter.ts'
import { wakeAdapters } from '#agents/wake/client-adapters.ts'
import { trialName, trialsFile, WakeMemory } from '#agents/wake/wake-memory.ts'
import { handedOn } from '#agents/wake/wake-settings.ts'
import { type TrialParts, tryWake, type WakeTrial } from '#agents/wake/wake-trial.ts'
import type { CommandContext } from '#console/context.ts'
import { EXIT, Exit, UsageError } from '#console/failure.ts'
import { stateFolder } from '#console/state-folder.ts'
import { table } from '#console/table.ts'
import { plain } from '#console/terminal-text.ts'
import type { Rung } from '#fleet/wake-ladder.ts'
import { tellUnseen } from '../client-hooks/what-is-unseen.ts'
import { PEOPLE_RUNGS, peopleAdapters, tryPeople } from '../reach-people.ts'

const EXAMPLES = `
Examples:
  s2 wake-test                     try each way to wake each session of a client on this host
  s2 wake-test --agent claude      those of Claude Code alone
  s2 wake-test --only inbox_socket,rewake --yes --json
  s2 wake-test --only webhook      whether a person is reached

Each way that can be tried sends the session one short text, which costs a turn of its model, and is asked for first. A way is proven
when the client says, by its hooks, that the text arrived; the watcher begins with the first that was. Ways to people (${PEOPLE_RUNGS.join(', ')})
are tried where --only names them or somebody says yes, and prove no more than that something was sent. A session that has ended is
tried with --only resume. Exit code 0: every session was reached in some way.`

interface Options {
  readonly agent?: Client
  readonly only?: string
  readonly yes?: true
  readonly json?: true
}

/** Ways to wake a session, and then those that reach people. */
const CLIENT_RUNGS: readonly Rung[] = ['inbox_socket', 'rewake', 'app_server', 'codex_queue', 'tmux', 'resume']
const RUNGS: readonly Rung[] = [...CLIENT_RUNGS, ...PEOPLE_RUNGS]

/** For a way to people there is no client and no session. */
interface Row extends WakeTrial {
  readonly client: Client | null
  readonly version: string | null
  readonly session: string | null
}

export function define(command: Command, context: CommandContext): void {
  command
    .addOption(new Option('--agent <client>', 'sessions of this client alone').choices(CLIENTS))
    .option('--only <ways>', `some of ${RUNGS.join(', ')}`)
    .option('--yes', 'ask nobody before something is sent')
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (options: Options) => {
      const rungs = rungsOf(options.only)
      const rows = await tryAll(options, rungs, context)
      if (options.json === true) context.print(`${JSON.stringify(rows, null, 2)}\n`)
      else if (rows.length > 0)
        context.print(`${table(COLUMNS, rows.map(cellsOf), context.screen.columns).join('\n')}\n`)
      await tellUnseen(stateFolder(context), options.agent === undefined ? CLIENTS : [options.agent], 'woken', context)
      if (!isEachReached(rows, rungs)) throw new Exit(EXIT.failed)
    })
}

function rungsOf(only: string | undefined): readonly Rung[] {
  if (only === undefined) return RUNGS
  const words = only.split(',').map((each) => each.trim())
  const unknown = words.find((each) => !RUNGS.some((rung) => rung === each))
  if (unknown !== undefined)
    throw new UsageError(`no way to wake is called ${unknown}`, `name some of ${RUNGS.join(', ')}`)
  return RUNGS.filter((rung) => words.includes(rung))
}

async function tryAll(options: Options, rungs: readonly Rung[], context: CommandContext): Promise<Row[]> {
  const { clock, env } = context
  const state = stateFolder(context)
  const clientRungs = rungs.filter((rung) => CLIENT_RUNGS.includes(rung))
  const known = clientRungs.length === 0 ? [] : await readClientSessions(state)
  const sessions = known.filter(isWanted(options))
  if (sessions.length === 0 && clientRungs.length > 0) tellNone(context)
  const all = wakeAdapters({ clock, state, env: handedOn(env), webhook: null })
  const adapters = clientRungs.flatMap((rung): WakeAdapter[] => all.filter((each) => each.rung === rung))
  const isYes = personAt(context)
  const parts = trialParts(state, options, clock, isYes)
  const over = new AbortController()
  using _stop = context.onSignal(['SIGINT', 'SIGTERM'], () => over.abort(new Exit(EXIT.failed)))
  const rows: Row[] = []
  for (const session of sessions) {
    for (const adapter of adapters) {
      const trial = await tryWake(session, adapter, parts, over.signal)
      rows.push({ client: session.client, version: session.version, session: session.id, ...trial })
    }
    await keepFirstRead(state, session, rows, context)
  }
  return [...rows, ...(await tryAllPeople(options, rungs, isYes, context, over.signal))]
}

async function tryAllPeople(
  options: Options,
  rungs: readonly Rung[],
  isYes: AskYes,
  context: CommandContext,
  signal: AbortSignal,
): Promise<Row[]> {
  const rows: Row[] = []
  for (const adapter of peopleAdapters(context).filter(({ rung }) => rungs.includes(rung))) {
    const mayTry = async (rung: Rung): Promise<boolean> =>
      options.yes === true ? options.only !== undefined : await isYes(`Send a text by ${rung}? [y/N] `)
    const trial = await tryPeople(adapter, newId(), mayTry, context, signal)
    rows.push({ client: null, version: null, session: null, ...trial })
  }
  return rows
}

/** The watcher begins the next time with the strongest way that was read. */
async function keepFirstRead(
  state: string,
  session: ClientSession,
  rows: readonly Row[],
  context: CommandContext,
): Promise<void> {
  const read = rows.find((row) => row.session === session.id && row.client === session.client && row.readMs !== null)
  if (read === undefined) return
  const worked = { rung: read.rung, readMs: Math.round(read.readMs ?? 0), at: context.clock.wall() }
  try {
    const trials = await WakeMemory.open(trialsFile(state))
    await trials.noteWorked(trialName(session), session, worked)
  } catch (error) {
    context.tell(`s2: the watcher is not told which way was read: ${(error as Error).message}\n`)
  }
}

function isWanted({ agent, only }: Options) {
  return ({ client, activity }: ClientSession): boolean =>
    (activity.state === 'gone') === (only === 'resume') && (agent === undefined || client === agent)
}

function tellNone(context: CommandContext): void {
  const next =
    'start the client, and let its hooks tell S2 of it (s2 hooks status): those of Codex do so with its first prompt; its keepalive must run: s2 health keepalive'
  context.tell(`s2: no session of a client is known on this host\n  next: ${next}\n`)
}

function trialParts(state: string, { yes }: Options, clock: CommandContext['clock'], isYes: AskYes): TrialParts {
  return {
    clock,
    newId,
    look: async ({ client, id }) =>
      (await readClientSessions(state)).find((each) => each.client === client && each.id === id) ?? null,
    mayTry: async (session, rung) => yes === true || (await isAllowed(session, rung, isYes)),
  }
}

function newId(): string {
  return randomBytes(6).toString('hex')
}

async function isAllowed({ client, id, folder }: ClientSession, rung: Rung, isYes: AskYes): Promise<boolean> {
  const how = rung === 'tmux' ? 'Type a text into the pane of' : `Send a text (${rung}) to`
  return await isYes(`${how} ${client} ${id} in ${folder}? It costs a turn. [y/N] `)
}

/** Asks for a yes. */
type AskYes = (question: string) => Promise<boolean>

/** Asks the person at the terminal; after Ctrl-C, or without a person, each answer is no. */
function personAt(context: CommandContext): AskYes {
  let isOver = !context.isAttended
  return async (question) => {
    const answer = isOver ? null : await context.ask(plain(question))
    isOver = answer === null
    return /^y(es)?$/i.test(answer?.trim() ?? '')
  }
}

/** Where no way to a session was asked for, something must have been sent to people. */
function isEachReached(rows: readonly Row[], rungs: readonly Rung[]): boolean {
  if (rungs.every((rung) => PEOPLE_RUNGS.includes(rung))) return rows.some(({ outcome }) => outcome === 'sent')
  const ofSessions = rows.filter(({ session }) => session !== null)
  const reached = new Set(ofSessions.filter(({ outcome }) => outcome === 'read').map(({ session }) => session))
  return ofSessions.length > 0 && ofSessions.every(({ session }) => reached.has(session))
}

const COLUMNS = [
  { title: 'CLIENT' },
  { title: 'SESSION' },
  { title: 'WAY' },
  { title: 'OUTCOME' },
  { title: 'SECONDS' },
  { title: 'WHY', stretches: true },
]

function cellsOf({ client, version, session, rung, outcome, readMs, why }: Row): string[] {
  const seconds = readMs === null ? '-' : (readMs / 1_000).toFixed(2)
  const who = client === null ? ['people', '-'] : [`${client} ${version ?? '?'}`, session?.slice(0, 8) ?? '-']
  return [...who, rung, OUTCOMES[outcome], seconds, why ?? '']
}

const OUTCOMES = { read: 'read', sent: 'sent, not read', no: 'not possible' } as const
