import type { AgentProcess } from '#fleet/agent-processes.ts'
import { S2Error } from '#fleet/errors.ts'
import type { Clock } from '#runtime/clock.ts'
import { processStart, processStat } from '#runtime/process-stat.ts'
import type { Env } from '#runtime/read-settings.ts'
import { hasSucceeded, howItEnded, runCommand } from '#runtime/run-command.ts'
import type { ProcessSource } from './read-source.ts'

const POLL_MS = 700
const TIMEOUT_MS = 3_000
const OUTPUT_MAX = 4_000_000

/** One session of one life of a tmux server. */
interface Session {
  readonly id: string
  readonly server: string
  readonly name: string
  readonly agent: string
  /** `on`: dead panes are run again. Else a command that a new session is made with. */
  readonly restart: string
  readonly path: string
  readonly panes: readonly Pane[]
}

interface Pane {
  readonly id: string
  readonly pid: number
  readonly isDead: boolean
  readonly exit: string
  /** When its process began, in ticks since the boot: a number of a process may be given again, with another beginning. */
  readonly begun: string | null
}

/** What `list-panes` is asked for; the command last, as it may hold anything. */
const FIELDS = [
  'pid',
  'start_time',
  'session_id',
  'pane_id',
  'pane_pid',
  'pane_dead',
  'pane_dead_status',
  'pane_dead_signal',
  '@s2_agent',
  'session_name',
  'session_path',
  '@s2_restart',
] as const
const SEPARATOR = '<|>'

/**
 * Sessions of a tmux server that bear the option `@s2_agent`. The server ends with its last session, and may also be killed
 * or lose its socket while its children live: that it does not answer proves nothing. A session has ended when the server
 * that had it answers without it, when all its panes are dead, or when the processes of all its panes are known to have ended.
 */
export class TmuxSource implements ProcessSource {
  readonly name = 'tmux'
  readonly everyMs = POLL_MS
  readonly #socket: string
  readonly #env: Env
  readonly #clock: Clock
  readonly #known = new Map<string, Session>()
  /** Sessions that the server had when it was asked last. */
  #there: ReadonlySet<string> = new Set()

  constructor(socket: string, env: Env, clock: Clock) {
    this.#socket = socket
    this.#env = { ...env, LC_ALL: 'C.UTF-8', TMUX: undefined }
    this.#clock = clock
  }

  async read(signal: AbortSignal): Promise<readonly AgentProcess[]> {
    const answer = await this.#list(signal)
    const now = new Map((answer?.sessions ?? []).map((session) => [session.id, session]))
    const missing = [...this.#known.values()].filter(({ id }) => !now.has(id) && !answer?.foreign.has(id))
    for (const session of now.values()) this.#known.set(session.id, session)
    this.#there = new Set(now.keys())
    const processes = [...now.values()].map((session) => this.#present(session))
    for (const id of answer?.foreign ?? []) {
      const session = this.#known.get(id)
      if (session !== undefined) processes.push({ ...processOf(session), agent: null, state: 'living', why: '' })
      this.#known.delete(id)
    }
    for (const session of missing) {
      // the session ended with its server; what ran in it may live on
      const isOver = session.server === answer?.server || haveAllEnded(session.panes)
      const hasSuccessor = [...now.values()].some(({ agent }) => agent === session.agent)
      if (hasSuccessor && isOver) this.#known.delete(session.id)
      const restartable = answer !== null && isCommand(session.restart)
      if (isOver)
        processes.push({ ...processOf(session), state: 'ended', why: 'its session ended', mayStart: restartable })
      else processes.push({ ...processOf(session), state: 'unknown', why: 'its server does not answer' })
    }
    return processes
  }

  async start(id: string, signal: AbortSignal): Promise<void> {
    const session = this.#known.get(id)
    if (session === undefined) throw new Error(`no such session: ${id}`)
    try {
      await this.#restart(session, signal)
    } catch (error) {
      const next = `tmux -S ${this.#socket} new-session -d -s ${session.name}, and in it what the agent runs`
      throw new S2Error('unavailable', `tmux could not start it: ${(error as Error).message}`, { next, cause: error })
    }
  }

  async #restart({ id, name, path, restart, agent, panes }: Session, signal: AbortSignal): Promise<void> {
    if (this.#there.has(id)) return await this.#revive(panes, isCommand(restart) ? ['-c', path, restart] : [], signal)
    const options = [
      ['@s2_agent', agent],
      ['@s2_restart', restart],
    ].flatMap(([key = '', value = '']) => [';', 'set-option', key, value])
    await this.#tmux(['new-session', '-d', '-s', name, '-c', path, restart, ...options], signal)
  }

  /** Dead panes that remain are run again where they are; one is enough for a command. A server that lost its last session would end. */
  async #revive(panes: readonly Pane[], command: readonly string[], signal: AbortSignal): Promise<void> {
    const [first, ...rest] = panes.filter(({ isDead }) => isDead)
    if (first === undefined) return
    await this.#tmux(['respawn-pane', '-t', first.id, ...command], signal)
    for (const { id } of rest) {
      await this.#tmux(command.length > 0 ? ['kill-pane', '-t', id] : ['respawn-pane', '-t', id], signal)
    }
  }

  #present(session: Session): AgentProcess {
    const process = processOf(session)
    if (!session.panes.every(({ isDead }) => isDead)) return { ...process, state: 'living', why: '' }
    return { ...process, state: 'ended', why: session.panes[0]?.exit ?? '', mayStart: session.restart !== '' }
  }

  /** Null where no server answers. `foreign`: sessions that are no agent’s. */
  async #list(signal: AbortSignal): Promise<{ server: string; sessions: Session[]; foreign: Set<string> } | null> {
    const format = FIELDS.map((field) => `#{${field}}`).join(SEPARATOR)
    let text: string
    try {
      text = await this.#tmux(['list-panes', '-a', '-F', format], signal)
    } catch (error) {
      if (error instanceof NoServer) return null
      throw error
    }
    const rows = text
      .split('\n')
      .filter((line) => line !== '')
      .map(fieldsOf)
    const foreign = new Set<string>()
    const sessions: Session[] = []
    for (const [id, panes] of Map.groupBy(rows, (row) => `${row.pid}.${row.start_time}.${row.session_id}`)) {
      const [first] = panes
      if (first === undefined) continue
      if (first['@s2_agent'] === '') foreign.add(id)
      else sessions.push(this.#session(id, first, panes))
    }
    const [first] = rows
    return first === undefined ? null : { server: `${first.pid}.${first.start_time}`, sessions, foreign }
  }

  #session(id: string, first: Row, rows: readonly Row[]): Session {
    const before = new Map(this.#known.get(id)?.panes.map((pane) => [pane.pid, pane.begun]))
    const panes = rows.map((row): Pane => {
      const pid = Number(row.pane_pid)
      const isDead = row.pane_dead === '1'
      const begun = before.get(pid) ?? (isDead ? null : processStart(pid))
      const exit = isDead ? exitOf(row, begun) : ''
      return { id: row.pane_id, pid, isDead, exit, begun }
    })
    return {
      id,
      server: `${first.pid}.${first.start_time}`,
      name: first.session_name,
      agent: first['@s2_agent'],
      restart: first['@s2_restart'],
      path: first.session_path,
      panes,
    }
  }

  async #tmux(args: readonly string[], signal: AbortSignal): Promise<string> {
    const ending = await runCommand(
      {
        argv: ['tmux', '-N', '-u', '-S', this.#socket, ...args],
        env: this.#env,
        timeoutMs: TIMEOUT_MS,
        outputMax: OUTPUT_MAX,
        beyond: 'end',
      },
      this.#clock,
      signal,
    )
    if (hasSucceeded(ending)) return ending.stdout.toString('utf8')
    if (/no server running|error connecting|lost server|server exited|no current target/.test(ending.stderr))
      throw new NoServer(ending.stderr.trim())
    const said = ending.stderr.trim().split('\n')[0]
    throw new Error(`tmux ${args[0]} failed: ${said === '' ? howItEnded(ending) : said}`)
  }
}

class NoServer extends Error {}

type Row = Readonly<Record<(typeof FIELDS)[number], string>>

function fieldsOf(line: string): Row {
  const texts = line.split(SEPARATOR)
  const rest = texts.splice(FIELDS.length - 1).join(SEPARATOR) // a command may hold the separator
  return Object.fromEntries(
    FIELDS.map((field, index) => [field, index < FIELDS.length - 1 ? (texts[index] ?? '') : rest]),
  ) as Row
}

function isCommand(restart: string): boolean {
  return restart !== '' && restart !== 'on'
}

function processOf({ id, agent, name }: Session): Pick<AgentProcess, 'id' | 'agent' | 'name' | 'mayStart'> {
  return { id, agent, name: `tmux session ${name}`, mayStart: false }
}

/** Only processes that were seen alive count: where processes are hidden from the watchdog, all seem to be missing. */
function haveAllEnded(panes: readonly Pane[]): boolean {
  return panes.every(({ pid, begun, isDead }) => isDead || (begun !== null && processStart(pid) !== begun))
}

/**
 * How a dead pane’s command ended. A server that missed the signal of its child’s death (tmux 3.3a does, on a busy machine)
 * leaves it a zombie and does not know, until another child of its ends.
 */
function exitOf({ pane_pid, pane_dead_status, pane_dead_signal }: Row, begun: string | null): string {
  if (pane_dead_status !== '') return `exit code ${pane_dead_status}`
  if (pane_dead_signal !== '') return `signal ${pane_dead_signal}`
  const child = processStat(Number(pane_pid))
  if (child?.state !== 'Z' || child.startedAt !== begun || child.exitStatus === 0) return 'its command ended'
  const signal = child.exitStatus & 0x7f
  return signal === 0 ? `exit code ${child.exitStatus >> 8}` : `signal ${signal}`
}
