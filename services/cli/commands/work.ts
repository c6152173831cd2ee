import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { Command } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { failureOf, UsageError } from '#console/failure.ts'
import { commandEnv } from '#console/state-folder.ts'
import { isAnswered, openSessions, terseLog } from '#console/store-access.ts'
import { oneLine, plain } from '#console/text.ts'
import type { Credential } from '#fleet/credential.ts'
import { parseSession, type SessionId, sessionId, sideOf } from '#fleet/session.ts'
import { commandLine } from '#runtime/command.ts'
import { readSettings } from '#runtime/config.ts'
import { credentialsFolder, readCredentials } from '#spool/credentials.ts'
import { Inbox } from '#spool/inbox.ts'
import { Outbox } from '#spool/outbox.ts'
import type { Store } from '#store/store.ts'
import { SessionLocks } from '../../worker/session-lock.ts'
import { inboxLetters, outboxReports } from '../../worker/spool-ports.ts'
import { commandStarter } from '../../worker/task-command.ts'
import { type Reports, TaskLoop, type WorkConfig, type WorkEvent, type WorkerSession } from '../../worker/task-loop.ts'

const EXAMPLES = `
Examples:
  s2 work --exec 'claude -p "$S2_TASK_DESCRIPTION"'
  s2 work --exec 'codex exec -' --once         until no work is left
  s2 work --exec '["./do-task","--json"]'      a JSON list is run as it is, anything else by sh

CMD runs once for each task, in a process group of its own, with the task as JSON on its standard input and in
S2_TASK_ID, S2_TASK_DESCRIPTION, S2_TASK_PRIORITY, S2_TASK_ROLE and S2_TASK_EPOCH. Its last line of output is the
progress that others see; its exit code says whether the task is completed (0) or failed. While it lives its task
stays leased (S2_LEASE); when the task is given to somebody else it is ended, with all it started.

Ctrl-C lets the task in hand end first; a second one, or TERM, ends it too: it is taken up again at the next start.`

interface Options {
  readonly exec: string
  readonly session?: string
  readonly once?: true
  readonly quiet?: true
  readonly json?: true
}

/** How often it asks for work when it heard nothing. */
const POLL_MS = 30_000

export function define(command: Command, shell: CommandContext): void {
  command
    .requiredOption('--exec <cmd>', 'the command that does a task')
    .option('--session <session>', 'for this session only, where several lie on this host')
    .option('--once', 'end when no work is left')
    .option('--quiet', 'say only what went wrong')
    .option('--json', 'print what happens as JSON, an event a line')
    .addHelpText('after', EXAMPLES)
    .action(async (options: Options) => await work(shell, options))
}

async function work(shell: CommandContext, options: Options): Promise<void> {
  process.title = 's2-work'
  const env = commandEnv(shell)
  const settings = readSettings(env, ['S2_STATE', 'S2_LEASE'])
  const state = settings.S2_STATE
  const argv = readCommand(options.exec)
  const only = options.session === undefined ? null : readSession(options.session)
  const log = terseLog(shell)
  const say = speaker(shell, options)
  const outbox = new Outbox(state, (fault) => shell.tell(`s2: ${fault}\n`))
  const inbox = new Inbox(state, (fault) => shell.tell(`s2: ${fault}\n`))
  await using seats = new Seats(state, only, shell)
  const draining = new AbortController()
  const stopping = new AbortController()
  using _signals = shell.onSignal(['SIGINT', 'SIGTERM', 'SIGHUP'], (signal) => {
    // The first Ctrl-C is patient: what is in hand may be an hour's work.
    if (signal !== 'SIGINT' || draining.signal.aborted) stopping.abort()
    else if (options.json !== true) shell.tell('s2: ending when the task in hand is done; Ctrl-C again ends it now\n')
    draining.abort()
  })
  const agent = new TaskLoop(workConfig(settings.S2_LEASE, options.once === true), {
    clock: shell.clock,
    chance: shell.chance,
    life: `work-${randomBytes(8).toString('hex')}`,
    seats: () => seats.read(),
    reports: warnUncarried(outboxReports(outbox), state, shell),
    letters: inboxLetters(inbox, { clock: shell.clock, log }),
    start: commandStarter(argv, { ...env, S2_STATE: state }, shell.folder, shell.clock),
    say,
    draining: draining.signal,
    stopping: stopping.signal,
  })
  await agent.work()
}

/** Progress is told often enough to look alive, and seldom enough for the bridge's rate limit. */
export function workConfig(leaseMs: number, once: boolean): WorkConfig {
  return { leaseMs, pollMs: POLL_MS, progressMs: Math.min(2_000, Math.max(500, leaseMs / 6)), once }
}

function readCommand(text: string): readonly [string, ...string[]] {
  if (text.trim() === '') throw new UsageError('--exec names no command', 'for example --exec \'["claude","-p"]\'')
  try {
    return commandLine(text)
  } catch (error) {
    throw new UsageError(
      `--exec ${JSON.stringify(text)} ${(error as Error).message}`,
      'for example --exec \'["claude","-p"]\'',
    )
  }
}

function readSession(text: string): SessionId {
  const { conversation, side } = parseSession(text)
  return sessionId(conversation, side)
}

/** The workers' ends whose credentials lie on this host; they may come, change and go while the agent works. */
class Seats implements AsyncDisposable {
  readonly #state: string
  readonly #only: SessionId | null
  readonly #shell: CommandContext
  readonly #stores = new Map<string, Store>()
  readonly #claims: SessionLocks
  #credentials: readonly Credential[] = []
  #told = ''

  constructor(state: string, only: SessionId | null, shell: CommandContext) {
    this.#state = state
    this.#only = only
    this.#shell = shell
    this.#claims = new SessionLocks(state)
  }

  async read(): Promise<WorkerSession[]> {
    const { credentials, faults } = await readCredentials(this.#state)
    this.#credentials = credentials
    const mine = this.#credentials.filter(({ session }) =>
      this.#only === null ? sideOf(session) === 'b' : session === this.#only,
    )
    const isOurs = await Promise.all(mine.map(({ session }) => this.#claims.hold(session)))
    const ours = mine.filter((_, index) => isOurs[index])
    const others = mine.filter((_, index) => !isOurs[index])
    this.#tellOnce([
      ...others.map(({ session }) => `another s2 work on this host serves ${session}: it has it until it ends`),
      ...(mine.length > 0 ? [] : [`waiting for a credential ${this.#wanted()}: s2-cred-sync brings it`]),
      ...faults,
    ])
    return await Promise.all(
      ours.map(async ({ session, bridgeUrl }) => ({ session, store: await this.#store(bridgeUrl) })),
    )
  }

  #wanted(): string {
    const folder = credentialsFolder(this.#state)
    return this.#only === null ? `of a worker in ${folder}` : `of ${this.#only} in ${folder}`
  }

  #tellOnce(faults: readonly string[]): void {
    const told = faults.map((fault) => `s2: ${fault}\n`).join('')
    if (told !== this.#told) this.#shell.tell(told)
    this.#told = told
  }

  async #store(bridgeUrl: string): Promise<Store> {
    const known = this.#stores.get(bridgeUrl)
    if (known !== undefined) return known
    const store = await openSessions(bridgeUrl, () => this.#credentials, this.#shell)
    this.#stores.set(bridgeUrl, store)
    return store
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#claims[Symbol.asyncDispose]()
    for (const store of this.#stores.values()) await store[Symbol.asyncDispose]()
  }
}

/** Says once when nobody is there to carry reports: they are safe, but they stay. */
function warnUncarried(reports: Reports, state: string, shell: CommandContext): Reports {
  let warned = false
  return {
    ...reports,
    put: async (holder, report) => {
      const name = await reports.put(holder, report)
      if (!warned && !(await isAnswered(join(state, 'run', 'keepalive.sock')))) {
        warned = true
        shell.tell(`s2: no s2-keepalive serves ${state}: what is reported waits in the outbox until one does\n`)
      }
      return name
    },
  }
}

function speaker(shell: CommandContext, { quiet, json }: Options): (event: WorkEvent) => void {
  if (json === true) {
    return (event) => {
      const error = event.event === 'trouble' ? { error: failureOf(event.error).message } : {}
      const at = new Date(shell.clock.wall()).toISOString()
      shell.print(`${JSON.stringify({ at, level: levelOf(event), ...event, ...error })}\n`)
    }
  }
  return (event) => {
    if (quiet === true && levelOf(event) === 'info') return
    const line = inWords(event)
    if (event.event === 'output') shell.print(line)
    else shell.tell(line)
  }
}

function levelOf({ event }: WorkEvent): 'info' | 'warn' {
  return event === 'trouble' || event === 'refused' || event === 'stopping' ? 'warn' : 'info'
}

const WHY_STOPPING = {
  lease_lost: 'it was given to somebody else',
  lease_unsure: 'its lease ran out while the bridge could not be asked',
  told_to_stop: 'told to end',
} as const

function inWords(event: WorkEvent): string {
  switch (event.event) {
    case 'output':
      return `${plain(event.line)}\n`
    case 'idle':
      return event.waitingReports === undefined
        ? 's2: waiting for work\n'
        : `s2: waiting until ${event.waitingReports} reports have been carried\n`
    case 'started':
      return `s2: ${event.task} (${event.priority}, epoch ${event.epoch}) begins\n`
    case 'ended':
      return `s2: ${event.task} ended with ${event.signal ?? `exit code ${event.exitCode ?? 'none'}`}\n`
    case 'reported':
      return `s2: ${event.task} is ${event.state}\n`
    case 'refused':
      return `s2: what became of ${event.task} was refused: ${oneLine(event.why)}\n`
    case 'stopping':
      return `s2: ending the command of ${event.task}: ${WHY_STOPPING[event.why]}\n`
    case 'trouble':
      return `s2: ${event.what}: ${oneLine(failureOf(event.error).message)}\n`
  }
}
