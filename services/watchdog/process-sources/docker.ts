import type { Readable } from 'node:stream'
import type Docker from 'dockerode'
import type { ContainerInfo, ContainerInspectInfo } from 'dockerode'
import type { AgentProcess } from '#fleet/agent-processes.ts'
import { S2Error } from '#fleet/errors.ts'
import { boundedWait } from '#runtime/bounded-wait.ts'
import type { Clock } from '#runtime/clock.ts'
import type { ProcessSource } from './read-source.ts'

/** The label that says whose container it is, and the one that allows to start it again. */
const AGENT = 's2.agent'
const RESTART = 's2.restart'
/** An engine that works answers in a hundredth of this. A frozen one never answers. */
const ANSWER_MS = 3_000
const START_MS = 30_000
/** How often the containers are listed though no event came. */
const LIST_EVERY_MS = 5_000
/** An event may come before what it tells of is listed: for a while after one, the list is read more often. */
const AFTER_EVENT_MS = 1_000
const LIST_AFTER_EVENT_EVERY_MS = 150
/** Characters of an event that are kept: no event that matters is longer. */
const LINE_MAX = 1_000_000
/** Health checks are events too, several a second; these alone are asked for. */
const EVENTS = {
  type: ['container' as const],
  label: [AGENT],
  event: ['start', 'die', 'oom', 'pause', 'unpause', 'destroy', 'health_status'],
}

/**
 * Containers of a docker engine that bear the label `s2.agent`. Events are hints, so that none can be missed or misread; what
 * counts is the list, which is also read when they fail to come. Only exit codes are taken from events: of a container that
 * is removed when it ends nothing else remains.
 */
export async function openDocker(socketPath: string, clock: Clock): Promise<ProcessSource> {
  const { default: Dockerode } = await import('dockerode') // 17 MB that a watchdog without an engine does not need
  return new DockerSource(new Dockerode({ socketPath }), clock)
}

class DockerSource implements ProcessSource {
  readonly name = 'docker'
  readonly #docker: Docker
  readonly #clock: Clock
  #heard: () => void = () => undefined
  #events: Readable | null = null
  #eventAt = Number.NEGATIVE_INFINITY
  /** Containers that were listed last, for when they are removed. */
  #listed = new Map<string, AgentProcess>()
  /** Those that the last list no longer had, and of whose end no event has told yet: it may be on its way. */
  #unexplained = new Map<string, AgentProcess>()
  /** How those of the list ended that have not started since, as events told it. */
  readonly #ends = new Map<string, string>()

  constructor(docker: Docker, clock: Clock) {
    this.#docker = docker
    this.#clock = clock
  }

  get everyMs(): number {
    return this.#clock.now() - this.#eventAt < AFTER_EVENT_MS ? LIST_AFTER_EVENT_EVERY_MS : LIST_EVERY_MS
  }

  onHint(heard: () => void): void {
    this.#heard = heard
  }

  async read(signal: AbortSignal): Promise<readonly AgentProcess[]> {
    return await boundedWait(
      async (abortSignal) => {
        await this.#listen(signal, abortSignal) // before the list, so that what it misses is heard
        const containers = await this.#docker.listContainers({ all: true, filters: { label: [AGENT] }, abortSignal })
        const processes = await Promise.all(containers.map((each) => this.#processOf(each, abortSignal)))
        return this.#withRemoved(processes.filter((each) => each !== null))
      },
      ANSWER_MS,
      this.#clock,
      signal,
    )
  }

  async start(id: string, signal: AbortSignal): Promise<void> {
    try {
      await boundedWait(
        (abortSignal) => this.#docker.getContainer(id).start({ abortSignal }),
        START_MS,
        this.#clock,
        signal,
      )
    } catch (error) {
      if ((error as Refusal).statusCode !== 304) throw notStarted(id, error as Refusal) // 304: it runs already
    }
  }

  /** The stream may stay for as long as the program; only asking for it is bounded. */
  async #listen(signal: AbortSignal, asking: AbortSignal): Promise<void> {
    if (this.#events !== null) return
    const ended = new AbortController()
    const onAsked = (): void => ended.abort()
    asking.addEventListener('abort', onAsked, { once: true })
    const abortSignal = AbortSignal.any([signal, ended.signal])
    const events = (await this.#docker.getEvents({ filters: EVENTS, abortSignal })) as Readable
    asking.removeEventListener('abort', onAsked)
    this.#events = events
    const lose = (): void => {
      if (this.#events !== events) return
      this.#events = null
      this.#heard()
    }
    events.on('error', lose)
    events.on('close', lose)
    let rest = ''
    events.on('data', (chunk: Buffer) => {
      const lines = `${rest}${chunk.toString('utf8')}`.split('\n')
      rest = (lines.pop() ?? '').slice(0, LINE_MAX)
      for (const line of lines) this.#note(line)
      this.#eventAt = this.#clock.now()
      this.#heard()
    })
  }

  #note(line: string): void {
    try {
      const { Action, Actor } = JSON.parse(line) as {
        Action?: string
        Actor?: { ID?: string; Attributes?: { exitCode?: string } }
      }
      if (Actor?.ID === undefined) return
      if (Action === 'die') this.#ends.set(Actor.ID, `exit code ${Actor.Attributes?.exitCode}`)
      else if (Action === 'start') this.#ends.delete(Actor.ID)
    } catch {
      // not an event: the list tells what is so
    }
  }

  /** Null for one that never ran: it says nothing of its agent. */
  async #processOf(
    { Id: id, Names, Labels, State, Status }: ContainerInfo,
    abortSignal: AbortSignal,
  ): Promise<AgentProcess | null> {
    const process = {
      id,
      agent: Labels[AGENT] ?? null,
      name: `container ${Names[0]?.replace(/^\//, '') ?? id.slice(0, 12)}`,
      mayStart: Labels[RESTART] === 'true' && (State === 'exited' || State === 'dead'),
    }
    switch (State) {
      case 'created':
        return null
      case 'running':
        if (Status.includes('(unhealthy)')) return { ...process, state: 'hindered', why: 'is unhealthy' }
        return { ...process, state: 'living', why: '' }
      case 'paused':
        return { ...process, state: 'hindered', why: 'is paused' }
      default:
        return { ...process, state: 'ended', why: await this.#whyEnded(id, Status, abortSignal) }
    }
  }

  async #whyEnded(id: string, status: string, abortSignal: AbortSignal): Promise<string> {
    const known = this.#listed.get(id)
    if (known?.state === 'ended') return known.why
    const said = /^(?:Exited|Restarting) \((\d+)\)/.exec(status)?.[1]
    // one that is being removed has no code in its status
    const why = said === undefined ? (this.#ends.get(id) ?? 'ended') : `exit code ${said}`
    if (known === undefined) return why // it was dead when the watchdog began: not worth a request for each
    const state = await this.#inspect(id, abortSignal)
    if (state === null) return why
    const inspected = said === undefined ? `exit code ${state.ExitCode}` : why
    return state.OOMKilled ? `${inspected}, out of memory` : inspected
  }

  /** Null for one that was removed since it was listed. */
  async #inspect(id: string, abortSignal: AbortSignal): Promise<ContainerInspectInfo['State'] | null> {
    try {
      return (await this.#docker.getContainer(id).inspect({ abortSignal })).State
    } catch (error) {
      if ((error as Refusal).statusCode === 404) return null
      throw error
    }
  }

  #withRemoved(processes: readonly AgentProcess[]): readonly AgentProcess[] {
    const listed = new Map(processes.map((each) => [each.id, each]))
    const missing = [...this.#listed.values(), ...this.#unexplained.values()].filter(({ id }) => !listed.has(id))
    const unexplained = new Map<string, AgentProcess>()
    const removed: AgentProcess[] = []
    for (const each of missing) {
      const why = this.#ends.get(each.id)
      if (each.state === 'ended') continue
      if (why !== undefined) removed.push({ ...each, state: 'ended', why, mayStart: false })
      else if (!this.#unexplained.has(each.id)) unexplained.set(each.id, each)
    }
    for (const id of this.#ends.keys()) if (!listed.has(id)) this.#ends.delete(id)
    this.#listed = listed
    this.#unexplained = unexplained
    return [...processes, ...removed]
  }
}

/** What the engine answers instead of doing something. */
type Refusal = Error & { readonly statusCode?: number; readonly json?: { readonly message?: string } }

/** Why a container was not started, in the words of its engine. A proxy before the engine may let one look, and no more. */
function notStarted(id: string, error: Refusal): S2Error {
  const why = error.json?.message ?? error.message
  const start = `docker start ${id.slice(0, 12)}`
  if (error.statusCode === 401 || error.statusCode === 403) {
    return new S2Error('forbidden', `docker refused it: ${why}`, {
      next: `let the watchdog start containers; by hand: ${start}`,
      cause: error,
    })
  }
  return new S2Error('unavailable', `docker could not start it: ${why}`, { next: start, cause: error })
}
