import { redact } from '#fleet/redact.ts'
import { backoff } from '#runtime/backoff.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import { formatDuration } from '#runtime/duration.ts'
import type { Log } from '#runtime/log.ts'
import { Loop } from '#runtime/loop.ts'
import { runSmoothly } from '#runtime/memory-tuning.ts'
import type { Life, Program } from '#runtime/run.ts'
import { openStore } from '#store/open-store.ts'
import type { Store } from '#store/store.ts'
import { type Look, look } from './act.ts'
import { openChannels } from './alert-channels.ts'
import { AlertSender } from './alert-sender.ts'
import { askManager, closeUnitIncidents } from './close-unit-incidents.ts'
import { type Config, readConfig, type WatchConfig } from './config.ts'
import { OpenIncidents } from './open-incidents.ts'
import { openSources } from './process-sources/open-sources.ts'
import { type ProcessSource, readSource } from './process-sources/read-source.ts'
import { readBeats } from './read-beats.ts'
import { AgentRestarts } from './restart-agents.ts'
import { View } from './view.ts'
import { writeVerdicts } from './write-verdicts.ts'

/** Finds out who fell silent, gives their work to others, and tells people. */
export const program: Program<Config> = {
  name: 'watchdog',
  about:
    'Judges by beats and leases which agents work, gives the work of silent ones to others, and tells people of incidents.',
  redact,
  readConfig,
  start,
}

export interface WatchdogParts {
  readonly store: Store
  readonly clock: Clock
  readonly log: Log
  readonly chance: Chance
  readonly signal: AbortSignal
  /** Who knows what agents run in. */
  readonly sources: readonly ProcessSource[]
  /** Told of every finished look. */
  onLook?(look: Look, view: View): void
  /** Told whenever the store failed us, and for how long it has. */
  onError?(error: unknown, failingMs: number): void
  /** Told when the store answers all again. */
  onWell?(): void
  /** Told when an alert was not taken. */
  onAlertFailure?(channel: string): void
}

/**
 * Watches until the signal aborts, then ends what it has in hand. Never rejects: the store's errors are waited out. Seeing,
 * looking, hearing evidence, starting the dead again, writing verdicts down and telling alerts go on side by side, and none of them waits for another.
 */
export async function watch(config: WatchConfig, parts: WatchdogParts): Promise<void> {
  const { store, clock, log, sources } = parts
  const channels = openChannels(config, clock, log)
  const tellers = channels.map((channel) => {
    return new AlertSender(channel, { ...parts, onFailure: (name) => parts.onAlertFailure?.(name) })
  })
  const incidents = new OpenIncidents(
    store,
    channels.map(({ name }) => name),
  )
  const view = new View(config)
  const absence = new Absence(config, parts, tellers)
  const looking = absence.loop('look', async () => {
    const done = await look(view, config, { store, clock, log, incidents })
    if (done.news > 0) onNews()
    if (view.dirty) telling.nudge()
    parts.onLook?.(done, view)
    return done.waitMs
  })
  const seeing = absence.loop('see', async () => {
    const { isNews, hasBlinked, waitMs } = await readBeats(view, config, { store, clock, log })
    if (isNews) looking.nudge()
    if (view.dirty) telling.nudge()
    if (hasBlinked) for (const each of attending) each.nudge()
    return waitMs
  })
  const attending = sources.map((source) => {
    const onNews = (): void => {
      looking.nudge()
      restarting.nudge()
    }
    return readSource(source, view, { ...parts, onNews })
  })
  const onNews = (): void => {
    for (const sender of tellers) sender.nudge()
  }
  const restarts = new AgentRestarts(view, config, { ...parts, incidents, onNews })
  const restarting = absence.loop('restart', () => restarts.step())
  const telling = absence.loop('tell', () => writeVerdicts(view, config, { store, clock }))
  await Promise.all([seeing, looking, telling, restarting, ...attending, ...tellers].map(({ done }) => done))
}

type Part = 'see' | 'look' | 'tell' | 'restart'

/** How long a part of the watchdog has failed, and by what. */
interface Failure {
  readonly since: number
  readonly count: number
  readonly line: string
}

/** The store's absence: waited out, told of once when it lasts, and once when it is over. */
class Absence {
  readonly #config: WatchConfig
  readonly #parts: WatchdogParts
  readonly #tellers: readonly AlertSender[]
  readonly #failures = new Map<Part, Failure>()
  #told = false

  constructor(config: WatchConfig, parts: WatchdogParts, tellers: readonly AlertSender[]) {
    this.#config = config
    this.#parts = parts
    this.#tellers = tellers
  }

  /** Repeats a part of the watchdog's work; its failures are waited out with growing patience. */
  loop(part: Part, step: () => Promise<number>): Loop {
    const { clock, signal } = this.#parts
    const onError = (error: unknown): number => this.#note(part, error)
    return new Loop({
      clock,
      signal,
      onError,
      step: async () => {
        const waitMs = await step()
        this.#over(part)
        return waitMs
      },
    })
  }

  #over(part: Part): void {
    const failure = this.#failures.get(part)
    if (failure === undefined) return
    this.#failures.delete(part)
    this.#parts.log.info('the store answers again', { to: part, failures: failure.count })
    if (this.#failures.size > 0) return
    if (this.#told) this.#tell('closed')
    this.#parts.onWell?.()
  }

  /** Answers how long to wait before the next try. */
  #note(part: Part, error: unknown): number {
    const { clock, log, chance } = this.#parts
    const { since, count, line } = this.#failures.get(part) ?? { since: clock.now(), count: 0, line: '' }
    if (String(error) !== line) log.warn('the store does not answer', { to: part, error })
    this.#failures.set(part, { since, count: count + 1, line: String(error) })
    const failingMs = clock.now() - since
    if (!this.#told && failingMs > this.#config.lateAfterMs) this.#tell('opened')
    this.#parts.onError?.(error, failingMs)
    const { watchMs, lateAfterMs } = this.#config
    return watchMs / 2 + backoff(count, { firstMs: watchMs, mostMs: lateAfterMs / 3 }, chance)
  }

  /** The store cannot keep this incident, as it is the store that is away. */
  #tell(event: 'opened' | 'closed'): void {
    this.#told = event === 'opened'
    const summary = `the watchdog has not reached its store for ${formatDuration(this.#config.lateAfterMs)}: nobody is judged and nothing is moved`
    for (const sender of this.#tellers) {
      sender.tellUnstored({ cause: 'store_away', kind: 'blind', agent: null, summary }, event)
    }
  }
}

async function start(config: Config, life: Life): Promise<void> {
  runSmoothly()
  const { clock, chance, log, health, draining, stack } = life
  const store = stack.use(
    await openStore(config.storeUrl, { clock, log, chance, onBroken: life.fail, onLong: life.takesLong }),
  )
  const looks = health.metrics.counter('s2_watchdog_looks_total', 'Looks at the fleet that were finished.')
  const failures = health.metrics.counter('s2_watchdog_look_failures_total', 'Looks that failed.')
  const moves = health.metrics.counter('s2_watchdog_moves_total', 'Tasks given to another agent.')
  const untold = health.metrics.counter('s2_watchdog_alert_failures_total', 'Alerts that a channel did not take.')
  let last: View | null = null
  const gauge = (name: string, about: string, read: (view: View) => number): void =>
    health.metrics.gauge(name, about, () => (last === null ? 0 : read(last)))
  gauge('s2_watchdog_agents_new', 'Agents that were never heard.', ({ roster }) => roster.counts.new)
  gauge('s2_watchdog_agents_alive', 'Agents that are alive.', ({ roster }) => roster.counts.alive)
  gauge('s2_watchdog_agents_late', 'Agents that are late.', ({ roster }) => roster.counts.late)
  gauge('s2_watchdog_agents_silent', 'Agents that are silent.', ({ roster }) => roster.counts.silent)
  gauge('s2_watchdog_agents_gone', 'Agents that are known to be dead.', ({ roster }) => roster.counts.gone)
  gauge('s2_watchdog_sources_away', 'Supervisors that do not answer.', ({ away }) => away.size)
  gauge('s2_watchdog_tasks_open', 'Tasks that have not ended.', ({ tasks }) => tasks.length)
  gauge('s2_watchdog_blind', '1 while nobody collects beats.', ({ blind }) => (blind ? 1 : 0))
  gauge(
    's2_watchdog_verdict_lag_seconds',
    'The last verdict: passed so long after its deadline.',
    ({ lagMs }) => lagMs / 1000,
  )
  health.trouble('look', 'no look has been finished yet')
  const watching = watch(config, {
    store,
    clock,
    log,
    chance,
    signal: draining,
    sources: await openSources(config.evidence, clock),
    onLook: ({ moved }, view) => {
      last = view
      moves.add(moved)
      health.trouble('blind', view.blind ? 'nobody collects beats: the bridge may be down' : null)
      if (view.seen === null || clock.now() - view.seen.now > config.lateAfterMs) return // it looks, but does not see
      looks.add()
      health.trouble('look', null)
      life.round(statusLine(view))
    },
    onError: (error, failingMs) => {
      failures.add()
      health.trouble('store', `${String(error)}; so for ${formatDuration(Math.round(failingMs))}`)
    },
    onWell: () => health.trouble('store', null),
    onAlertFailure: () => untold.add(),
  })
  stack.defer(() => watching)
  const channels = openChannels(config, clock, log).map(({ name }) => name)
  const isActive = askManager(config.evidence.env, clock, draining)
  const closing = closeUnitIncidents({ store, clock, log, signal: draining, state: config.state, channels, isActive })
  stack.defer(() => closing.done)
}

/** For example `9 agents: 8 alive, 1 silent; 3 tasks open`. */
export function statusLine({ roster, tasks, blind }: View): string {
  const counts = Object.entries(roster.counts).filter(([, count]) => count > 0)
  const verdicts = counts.map(([verdict, count]) => `${count} ${verdict}`).join(', ')
  const agents = `${roster.size} ${roster.size === 1 ? 'agent' : 'agents'}`
  const open = `${tasks.length} ${tasks.length === 1 ? 'task' : 'tasks'} open`
  return `${blind ? 'blind; ' : ''}${agents}${verdicts === '' ? '' : `: ${verdicts}`}; ${open}`
}
