import { type ClientSession, clientSessionName, type NamedClientSession } from '#agents/client-session.ts'
import type { HookReport } from '#agents/hook-report.ts'
import { nextSession, strongestActivity } from '#agents/next-session.ts'
import { soleSession } from '#agents/waiting-here.ts'
import type { ClientActivity, ClientActivityState } from '#fleet/client-activity.ts'
import type { SessionId } from '#fleet/session-id.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import type { KnownProcess } from '#runtime/process-life.ts'
import type { RetryLoop } from '#runtime/retry-loop.ts'
import type { TroubleLog } from '#runtime/trouble-log.ts'
import { codeOf } from '#spool/quarantine.ts'
import { FolderChangeCheck } from './folder-change-check.ts'
import { folderLoop } from './folder-loop.ts'
import type { ToolWork } from './tool-work.ts'

/** The folders that hooks and other programs meet keepalive in. */
export interface ClientFolders {
  /** Changes when a report comes or leaves. */
  version(): string
  /** Takes the oldest reports, at most so many. */
  take(max: number): Promise<readonly HookReport[]>
  read(): Promise<readonly ClientSession[]>
  publish(session: ClientSession): Promise<void>
  remove(session: ClientSession): Promise<void>
  /** Removes what hooks left over. `wall`: milliseconds since 1970. */
  tidy(wall: number): Promise<void>
}

export interface ClientSessionsParts {
  readonly folders: ClientFolders
  readonly clock: Clock
  readonly chance: Chance
  readonly signal: AbortSignal
  readonly troubles: TroubleLog
  /** How often the folder is looked into when nothing was heard. */
  readonly pollMs: number
  /** The zone that clients of this machine print their times in. */
  readonly zone: string
  /** The namespace that this program counts processes in. */
  readonly namespace: string
  isRunning(process: KnownProcess): boolean
  /** What a client's own files say of a session, taken in. Left out: none are read. */
  withEvidence?(session: ClientSession): ClientSession
  /** What the tools of clients do. Left out: nobody looks. */
  readonly tools?: Pick<ToolWork, 'hear' | 'look'>
  /** The sessions of the fleet that this host speaks for. */
  sessionsHere(): readonly SessionId[]
}

/** Reports that are taken in one go: a few milliseconds of work. */
const TAKEN_MAX = 500
/** How often processes and the files of clients are looked at. */
const LOOK_MS = 1_000
const TIDY_MS = 60_000
/** How often the processes of tools that run are looked at. */
const TOOLS_LOOK_MS = 15_000
/**
 * A session that its person has ended counts as idle for the fleet for so long: who resumes it, or goes on in another one, finds the
 * task where it was. The end of a process that nobody announced counts at once.
 */
const LEAVING_MS = 20_000
const LEAVING: ClientActivity = { state: 'idle', what: 'its session was ended', until: null }
/** How long a session that has ended is shown. */
const GONE_KEPT_MS = 3_600_000
/** A session without a process that can be looked at is over when nothing was heard of it for so long. */
const UNHEARD_MAX_MS = 86_400_000
/** So much the clock may be corrected by without anybody noticing. */
const AHEAD_MS = 1_000
/** Sessions that are kept; of more, those go first that were not heard of for the longest time. */
const SESSIONS_MAX = 300

/** The sessions of clients on this host: what their hooks report and their processes show, published for everybody who reads it. */
export class ClientSessions {
  readonly #parts: ClientSessionsParts
  readonly #sessions = new Map<string, ClientSession>()
  readonly #changed = new Set<string>()
  /** Those whose files are still to be removed. */
  readonly #forgotten = new Map<string, ClientSession>()
  /** The sessions that were just ended, and until when that may be taken back, by the clock that never jumps. */
  readonly #leaving = new Map<string, number>()
  readonly #signs = new Map<SessionId, number>()
  readonly #change: FolderChangeCheck
  readonly #loop: RetryLoop
  #onUrgent: () => void = () => undefined
  #isRead = false
  #lookedAt = Number.NEGATIVE_INFINITY
  #tidiedAt = Number.NEGATIVE_INFINITY
  #toolsLookedAt = Number.NEGATIVE_INFINITY

  constructor(parts: ClientSessionsParts) {
    this.#parts = parts
    const { clock, chance, signal, troubles, folders } = parts
    this.#change = new FolderChangeCheck(clock, () => folders.version())
    this.#loop = folderLoop({
      clock,
      chance,
      signal,
      look: () => this.#look(),
      onTrouble: (error) => troubles.met('clients', codeOf(error), (error as Error).message, error, 'light'),
      onWell: () => troubles.over('clients'),
    })
  }

  get done(): Promise<void> {
    return this.#loop.done
  }

  get size(): number {
    return this.#sessions.size
  }

  /** What is known of a client's session; undefined where nothing is. */
  find(session: NamedClientSession): ClientSession | undefined {
    return this.#sessions.get(clientSessionName(session))
  }

  /** A report may have come. */
  nudge(): void {
    this.#loop.nudge()
  }

  /** Takes a report that came by itself; it is published soon. */
  hear(report: HookReport): void {
    this.#take(report)
    this.#loop.nudge()
  }

  /** Calls whoever listens when a client does something that the fleet is to hear of at once. */
  onUrgent(listener: () => void): void {
    this.#onUrgent = listener
  }

  /** What the clients of a session of the fleet do; undefined where none is known. */
  activityOf(session: SessionId): ClientActivity | undefined {
    const sessions = [...this.#sessions].filter(([, each]) => each.session === session)
    const shown = sessions.map(([key, each]) => (this.#leaving.has(key) ? { ...each, activity: LEAVING } : each))
    return strongestActivity(shown) ?? undefined
  }

  /** The signs of progress of a session of the fleet that were not asked for yet. */
  takeSigns(session: SessionId): number {
    const signs = this.#signs.get(session) ?? 0
    this.#signs.delete(session)
    return signs
  }

  async #look(): Promise<number> {
    await this.#readOnce()
    const isMore = await this.#takeReports()
    const { clock, folders, pollMs } = this.#parts
    if (clock.now() - this.#lookedAt >= LOOK_MS) this.#lookAtClients()
    if (clock.now() - this.#toolsLookedAt >= TOOLS_LOOK_MS) await this.#lookAtTools()
    await this.#publish()
    if (clock.now() - this.#tidiedAt >= TIDY_MS) {
      this.#tidiedAt = clock.now()
      await folders.tidy(clock.wall())
    }
    return isMore ? 0 : pollMs
  }

  /** What an earlier run published goes on. */
  async #readOnce(): Promise<void> {
    if (this.#isRead) return
    for (const session of await this.#parts.folders.read()) {
      const key = clientSessionName(session)
      if (this.#sessions.has(key)) continue
      this.#sessions.set(key, session)
      // a tool may have begun before this program did
      const agoMs = Math.max(0, this.#parts.clock.wall() - session.heardAt)
      if (session.activity.state === 'working') this.#parts.tools?.hear(key, 'tool_begun', agoMs)
    }
    this.#isRead = true
  }

  /** Answers whether there may be more. */
  async #takeReports(): Promise<boolean> {
    if (!this.#change.mayHaveChanged()) return false
    try {
      const reports = await this.#parts.folders.take(TAKEN_MAX)
      for (const report of reports) this.#take(report)
      if (reports.length < TAKEN_MAX) return false
    } catch (error) {
      this.#change.reset()
      throw error
    }
    this.#change.reset()
    return true
  }

  /** A report that claims to be of the future is of now. */
  #take(report: HookReport): void {
    const { clock, zone, sessionsHere } = this.#parts
    const { client, id } = report.event
    const key = clientSessionName({ client, id })
    const before = this.#sessions.get(key) ?? null
    const next = nextSession(before, { ...report, at: Math.min(report.at, clock.wall()) }, zone)
    this.#noteLeaving(key, before, next)
    this.#hearTool(key, report)
    this.#set({
      ...next,
      session: next.session ?? soleSession(sessionsHere()),
      process: this.#processOf(report) ?? next.process,
    })
    this.#noteSigns(before, next.signs)
    this.#keepBounded()
  }

  /** Subagents run tools in the turn of their session, and end neither it nor the tools of others. */
  #hearTool(key: string, { event: { kind, subagent }, at }: HookReport): void {
    const { tools, clock } = this.#parts
    const counts = subagent === null || kind === 'tool_begun' || kind === 'tool_ended'
    if (counts) tools?.hear(key, kind, Math.max(0, clock.wall() - at))
  }

  /** A report that ends a session is the client's own word: whoever is killed says none. */
  #noteLeaving(key: string, before: ClientSession | null, next: ClientSession): void {
    if (next.activity.state !== 'gone') this.#leaving.delete(key)
    else if (before !== null && before.activity.state !== 'gone') {
      this.#leaving.set(key, this.#parts.clock.now() + LEAVING_MS)
    }
  }

  #endLeaving(): void {
    for (const [key, until] of this.#leaving) {
      if (this.#parts.clock.now() < until) continue
      this.#leaving.delete(key)
      this.#onUrgent()
    }
  }

  /** A number of another namespace names another process here. */
  #processOf({ facts }: HookReport): KnownProcess | null {
    const found = facts?.process ?? null
    if (found === null || found.namespace !== this.#parts.namespace) return null
    return { pid: found.pid, startTicks: found.startTicks }
  }

  /** A report may name any session: those that this host does not speak for are asked for by nobody, and would be kept for ever. */
  #noteSigns(before: ClientSession | null, signs: number): void {
    const sessions = this.#parts.sessionsHere()
    const session = before?.session ?? soleSession(sessions)
    if (session === null || !sessions.includes(session)) return
    this.#signs.set(session, (this.#signs.get(session) ?? 0) + signs - (before?.signs ?? 0))
  }

  #lookAtClients(): void {
    const { clock, isRunning, withEvidence = (session) => session } = this.#parts
    this.#lookedAt = clock.now()
    this.#endLeaving()
    for (const session of this.#sessions.values()) {
      if (session.activity.state === 'gone') continue
      const isGone =
        session.process === null ? clock.wall() - session.heardAt > UNHEARD_MAX_MS : !isRunning(session.process)
      const heard = notAhead(session, clock.wall())
      this.#set(isGone ? goneSince(heard, clock.wall()) : withEvidence(heard))
    }
  }

  /** A tool that works is a sign of progress, and that the turn goes on. */
  async #lookAtTools(): Promise<void> {
    const { clock, tools } = this.#parts
    this.#toolsLookedAt = clock.now()
    const clientOf = (key: string): KnownProcess | null => this.#sessions.get(key)?.process ?? null
    for (const key of (await tools?.look(clientOf)) ?? []) {
      const before = this.#sessions.get(key)
      if (before === undefined || before.activity.state !== 'working') continue
      const next = { ...before, signs: before.signs + 1, heardAt: clock.wall() }
      this.#set(next)
      this.#noteSigns(before, next.signs)
    }
  }

  #set(session: ClientSession): void {
    const key = clientSessionName(session)
    const before = this.#sessions.get(key)
    if (before === session) return
    this.#sessions.set(key, session)
    if (isUrgent(before?.activity, session.activity)) this.#onUrgent()
    this.#changed.add(key)
  }

  /** Somebody who makes up sessions without end costs others their place in the list at most, and their next event brings it back. */
  #keepBounded(): void {
    if (this.#sessions.size <= SESSIONS_MAX) return
    const [oldest] = [...this.#sessions.values()].sort((x, y) => rank(x) - rank(y) || x.heardAt - y.heardAt)
    if (oldest !== undefined) this.#forget(oldest)
  }

  #forget(session: ClientSession): void {
    this.#sessions.delete(clientSessionName(session))
    this.#leaving.delete(clientSessionName(session))
    this.#changed.add(clientSessionName(session))
    this.#forgotten.set(clientSessionName(session), session)
  }

  async #publish(): Promise<void> {
    const { clock, folders } = this.#parts
    for (const session of this.#sessions.values()) {
      if (session.activity.state === 'gone' && clock.wall() - session.since > GONE_KEPT_MS) this.#forget(session)
    }
    for (const key of this.#changed) {
      const session = this.#sessions.get(key)
      const forgotten = this.#forgotten.get(key)
      if (session !== undefined) await folders.publish(session)
      else if (forgotten !== undefined) await folders.remove(forgotten)
      this.#changed.delete(key)
      this.#forgotten.delete(key)
    }
  }
}

/** That turns begin and end can wait for the next beat; a dialog, a limit or an end cannot, and neither can that it is over. */
function isUrgent(before: ClientActivity | undefined, { state, what }: ClientActivity): boolean {
  if (before?.state === state) return state === 'waiting' && before.what !== what
  return !isRoutine(state) || (before !== undefined && !isRoutine(before.state))
}

function isRoutine(state: ClientActivityState): boolean {
  return state === 'working' || state === 'idle'
}

/** Sessions whose process is known to run are kept before others. */
function rank({ process, activity }: ClientSession): number {
  return activity.state === 'gone' ? 0 : process === null ? 1 : 2
}

/**
 * The same session, heard of now where it was heard of in the future: the clock was set back. What its client says of itself until
 * then would count for less than that, and it would come to rest for nobody.
 */
function notAhead(session: ClientSession, wall: number): ClientSession {
  const { since, heardAt } = session
  if (Math.max(since, heardAt) - wall <= AHEAD_MS) return session
  return { ...session, since: Math.min(since, wall), heardAt: Math.min(heardAt, wall) }
}

function goneSince(session: ClientSession, wall: number): ClientSession {
  return { ...session, activity: { state: 'gone', what: null, until: null }, since: wall }
}
