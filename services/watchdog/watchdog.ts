import { redact } from '#fleet/redact.ts'
import { backoff } from '#runtime/backoff.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { Loop } from '#runtime/loop.ts'
import type { Life, Program } from '#runtime/run.ts'
import { formatDuration } from '#runtime/settings.ts'
import { openStore } from '#store/open.ts'
import type { Store } from '#store/store.ts'
import { Teller } from './alerts.ts'
import { openChannels } from './channels.ts'
import { type Config, readConfig, type WatchConfig } from './config.ts'
import { Incidents } from './incidents.ts'
import { type Look, look } from './look.ts'
import { View } from './view.ts'

/** Finds out who fell silent, gives their work to others, and tells people. */
export const program: Program<Config> = { name: 'watchdog', redact, readConfig, start }

export interface WatchParts {
  readonly store: Store
  readonly clock: Clock
  readonly log: Log
  readonly chance: Chance
  readonly signal: AbortSignal
  /** Told of every finished look. */
  onLook?(look: Look, view: View): void
  /** Told of every look that the store, or we, made fail. */
  onError?(error: unknown, unseenMs: number): void
  /** Told when an alert was not taken. */
  onAlertFailure?(channel: string): void
}

/** Watches until the signal aborts, then ends what it has in hand. Never rejects: the store's errors are waited out. */
export async function watch(config: WatchConfig, parts: WatchParts): Promise<void> {
  const { store, clock, log, signal } = parts
  const channels = openChannels(config, clock, log)
  const tellers = channels.map((channel) => {
    return new Teller(channel, { ...parts, onFailure: (name) => parts.onAlertFailure?.(name) })
  })
  const incidents = new Incidents(
    store,
    channels.map(({ name }) => name),
  )
  const view = new View(config)
  const absence = new Absence(config, parts, tellers)
  const step = async (): Promise<number> => {
    const done = await look(view, config, { store, clock, log, incidents })
    absence.over()
    if (done.news > 0) for (const teller of tellers) teller.nudge()
    parts.onLook?.(done, view)
    return done.waitMs
  }
  const loop = new Loop({ clock, signal, step, onError: (error) => absence.note(error) })
  await Promise.all([loop.done, ...tellers.map(({ done }) => done)])
}

/** The store's absence: waited out, told of once when it lasts, and once when it is over. */
class Absence {
  readonly #config: WatchConfig
  readonly #parts: WatchParts
  readonly #tellers: readonly Teller[]
  #lastLook: number
  #failures = 0
  #told = false
  #line = ''

  constructor(config: WatchConfig, parts: WatchParts, tellers: readonly Teller[]) {
    this.#config = config
    this.#parts = parts
    this.#tellers = tellers
    this.#lastLook = parts.clock.now()
  }

  over(): void {
    this.#lastLook = this.#parts.clock.now()
    if (this.#failures > 0) this.#parts.log.info('the store answers again', { failures: this.#failures })
    this.#failures = 0
    this.#line = ''
    if (this.#told) this.#tell('closed')
  }

  /** Answers how long to wait before the next look. */
  note(error: unknown): number {
    const { clock, log, chance } = this.#parts
    const unseenMs = clock.now() - this.#lastLook
    const line = String(error)
    if (line !== this.#line) log.warn('could not look', { error })
    this.#line = line
    if (!this.#told && unseenMs > this.#config.lateAfterMs) this.#tell('opened')
    this.#parts.onError?.(error, unseenMs)
    this.#failures += 1
    const limits = { firstMs: this.#config.watchMs, mostMs: this.#config.lateAfterMs / 3 }
    return this.#config.watchMs / 2 + backoff(this.#failures - 1, limits, chance)
  }

  /** The store cannot keep this incident, as it is the store that is away. */
  #tell(event: 'opened' | 'closed'): void {
    this.#told = event === 'opened'
    const summary = `the watchdog has not reached its store for ${formatDuration(this.#config.lateAfterMs)}: nobody is judged and nothing is moved`
    for (const teller of this.#tellers) {
      teller.tellUnstored({ cause: 'store_away', kind: 'blind', agent: null, summary }, event)
    }
  }
}

async function start(config: Config, life: Life): Promise<void> {
  const { clock, chance, log, health, draining, stack } = life
  const store = stack.use(await openStore(config.storeUrl, { clock, log, chance, onBroken: life.fail }))
  const looks = health.metrics.counter('s2_watchdog_looks_total', 'Looks at the fleet that were finished.')
  const failures = health.metrics.counter('s2_watchdog_look_failures_total', 'Looks that failed.')
  const moves = health.metrics.counter('s2_watchdog_moves_total', 'Tasks given to another agent.')
  const untold = health.metrics.counter('s2_watchdog_alert_failures_total', 'Alerts that a channel did not take.')
  let last: View | null = null
  const gauge = (name: string, about: string, read: (view: View) => number): void =>
    health.metrics.gauge(name, about, () => (last === null ? 0 : read(last)))
  gauge('s2_watchdog_agents_alive', 'Agents that are alive.', ({ roster }) => roster.counts.alive)
  gauge('s2_watchdog_agents_late', 'Agents that are late.', ({ roster }) => roster.counts.late)
  gauge('s2_watchdog_agents_silent', 'Agents that are silent.', ({ roster }) => roster.counts.silent)
  gauge('s2_watchdog_tasks_open', 'Tasks that have not ended.', ({ tasks }) => tasks.length)
  gauge('s2_watchdog_blind', '1 while nobody collects beats.', ({ blind }) => (blind ? 1 : 0))
  gauge(
    's2_watchdog_verdict_lag_seconds',
    'The last verdict: passed so long after its deadline.',
    ({ lagMs }) => lagMs / 1000,
  )
  health.trouble('store', 'no look has been finished yet')
  const watching = watch(config, {
    store,
    clock,
    log,
    chance,
    signal: draining,
    onLook: ({ moved }, view) => {
      last = view
      looks.add()
      moves.add(moved)
      health.trouble('store', null)
      health.trouble('blind', view.blind ? 'nobody collects beats: the bridge may be down' : null)
      life.round(statusLine(view))
    },
    onError: (error, unseenMs) => {
      failures.add()
      health.trouble('store', `${String(error)}; unseen for ${formatDuration(Math.round(unseenMs))}`)
    },
    onAlertFailure: () => untold.add(),
  })
  stack.defer(() => watching)
}

/** For example `9 agents: 8 alive, 1 silent; 3 tasks open`. */
export function statusLine({ roster, tasks, blind }: View): string {
  const counts = Object.entries(roster.counts).filter(([, count]) => count > 0)
  const verdicts = counts.map(([verdict, count]) => `${count} ${verdict}`).join(', ')
  const agents = `${roster.size} ${roster.size === 1 ? 'agent' : 'agents'}`
  const open = `${tasks.length} ${tasks.length === 1 ? 'task' : 'tasks'} open`
  return `${blind ? 'blind; ' : ''}${agents}${verdicts === '' ? '' : `: ${verdicts}`}; ${open}`
}
