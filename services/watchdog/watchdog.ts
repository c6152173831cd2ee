import { redact } from '#fleet/redact.ts'
import { alertSocket } from '#runtime/alert-test.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { runSmoothly } from '#runtime/memory-tuning.ts'
import { ConfigError } from '#runtime/read-settings.ts'
import type { Life, Program } from '#runtime/run.ts'
import { KnownTroubles } from '#runtime/trouble-log.ts'
import { openStore } from '#store/open-store.ts'
import type { Store } from '#store/store.ts'
import { openChannels } from './alert-channels.ts'
import { AlertSender } from './alert-sender.ts'
import { askManager, closeUnitIncidents } from './close-unit-incidents.ts'
import { type Config, readConfig, type WatchConfig } from './config.ts'
import { DatabaseReport } from './database-report.ts'
import { decideAndAct, type Look } from './decide-and-act.ts'
import { FailingChannels } from './failing-channels.ts'
import { FlappingAgents } from './flapping-agents.ts'
import { type FleetLiveness, FleetObservation } from './fleet-observation.ts'
import { storeTrouble } from './incident-texts.ts'
import { judgeByBeats } from './judge-by-beats.ts'
import { misnamedSettings, namesAnybody } from './misnamed-settings.ts'
import { OpenIncidents } from './open-incidents.ts'
import { OpenTasksState } from './open-tasks-state.ts'
import { openSources } from './process-sources/open-sources.ts'
import { type ProcessSource, readSource } from './process-sources/read-source.ts'
import { ReportedLosses } from './reported-losses.ts'
import { AgentRestarts } from './restart-agents.ts'
import { StoreOutage } from './store-outage.ts'
import { serveAlertTests, testChannels } from './test-channels.ts'
import { WorkVerdicts } from './work-verdicts.ts'
import { VerdictWriter } from './write-verdicts.ts'

/** Finds out who fell silent, gives their work to others, and tells people. */
export const program: Program<Config> = {
  name: 'watchdog',
  about:
    'Judges by beats and leases which agents work, gives the work of silent ones to others, and tells people of incidents.',
  redact,
  readConfig,
  start,
}

/** What the watchdog knows, to read and not to write. */
export interface WatchdogState {
  readonly observed: Pick<FleetObservation, 'fleet' | 'unreachable' | 'isBlind' | 'trouble' | 'readAt' | 'verdictLagMs'>
  readonly openTasks: number
}

export interface WatchdogParts {
  readonly store: Store
  readonly clock: Clock
  readonly log: Log
  readonly chance: Chance
  readonly signal: AbortSignal
  /** The supervisors that know what agents run in. */
  readonly sources: readonly ProcessSource[]
  /** Called after every finished look. */
  onLook?(look: Look, state: WatchdogState): void
  /** Called whenever the store failed, with how long it has. */
  onError?(error: unknown, failingMs: number): void
  /** Called when the store answers every loop again. */
  onWell?(): void
  /** Called when a channel did not take an alert. */
  onAlertFailure?(channel: string): void
  /** Called with why alerts do not get through by some channel; null when they do by all. */
  onAlertTrouble?(why: string | null): void
}

/**
 * Watches until the signal aborts, then ends what it has in hand. Never rejects: the store's errors are waited out. Loops
 * read beats, look at the fleet, ask supervisors, start dead agents again, write verdicts and send alerts side by side, and
 * none of them waits for another. Each piece of what they know has one owner, which alone writes it.
 */
export async function watch(config: WatchConfig, parts: WatchdogParts): Promise<void> {
  const { store, clock, log, sources } = parts
  const channels = openChannels(config, clock, log)
  const names = channels.map(({ name }) => name)
  const incidents = new OpenIncidents(store, names, clock)
  const senders = channels.map((channel) => {
    return new AlertSender(channel, {
      ...parts,
      channels: names,
      wants: (kind) => channel.name === 'log' || config.alertOn.has(kind),
      onSuccess: (name) => {
        if (failing.noteSuccess(name)) reporting.nudge()
      },
      onFailure: (name, error) => {
        parts.onAlertFailure?.(name)
        failing.noteFailure(name, error)
        reporting.nudge()
      },
    })
  })
  const losses = new ReportedLosses()
  const flaps = new FlappingAgents()
  const observation = new FleetObservation(config, losses)
  const board = new OpenTasksState(config)
  const work = new WorkVerdicts()
  const owners = { observation, board, losses, flaps, incidents, work, refused: new KnownTroubles() }
  const writer = new VerdictWriter(config, { observation, store, clock, work })
  const database = new DatabaseReport(senders)
  const isExplained = (): boolean => observation.trouble !== null
  const outage = new StoreOutage(config, { ...parts, senders, isExplained })
  const onIncident = (): void => {
    for (const sender of senders) sender.nudge()
  }
  const failing = new FailingChannels({
    names,
    incidents,
    clock,
    onIncident,
    onTrouble: (why) => parts.onAlertTrouble?.(why),
  })
  const begunAt = clock.now()
  let areNamesUnread = namesAnybody(config)
  const reporting = outage.loop('report channels', () => failing.step())
  const looking = outage.loop('look', async () => {
    const done = await decideAndAct(config, { ...owners, store, clock, log })
    if (done.news > 0) onIncident()
    if (board.waitsForBeats) reading.nudge()
    if (writer.isDue) writing.nudge()
    parts.onLook?.(done, { observed: observation, openTasks: board.tasks.length })
    // after a round, as agents of a fleet that comes up become known one after the other
    if (areNamesUnread && clock.now() - begunAt >= config.roundMs) {
      const misnamed = misnamedSettings(config, observation.fleet.standings(), await store.workers())
      if (misnamed.length > 0) log.warn('setting names nobody', { why: misnamed.join('; ') })
      areNamesUnread = false
    }
    return done.waitMs
  })
  const reading = outage.loop('read beats', async () => {
    const { isNews, wasPaused, waitMs } = await judgeByBeats(config, { observation, board, store, clock, log })
    database.note(observation.trouble, clock.now())
    if (isNews) looking.nudge()
    if (writer.isDue) writing.nudge()
    if (wasPaused) for (const each of asking) each.nudge()
    return waitMs
  })
  const asking = sources.map((source) => {
    const onVerdicts = (): void => {
      looking.nudge()
      restarting.nudge()
    }
    return readSource(source, { ...parts, observation, onVerdicts })
  })
  const restarts = new AgentRestarts(config, { ...parts, observation, board, incidents, onIncident })
  const restarting = outage.loop('restart', () => restarts.step())
  const writing = outage.loop('write verdicts', () => writer.step())
  await Promise.all([reading, looking, writing, restarting, reporting, ...asking, ...senders].map(({ done }) => done))
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
  let last: WatchdogState | null = null
  addGauges(health.metrics, () => last)
  health.trouble('look', 'no look has been finished yet')
  const watching = watch(config, {
    store,
    clock,
    log,
    chance,
    signal: draining,
    sources: await openSources(config.evidence, clock),
    onLook: ({ moved }, state) => {
      last = state
      moves.add(moved)
      const { isBlind, trouble, readAt } = state.observed
      health.trouble('database', trouble === null ? null : `${trouble.message}; ${trouble.next}`)
      health.trouble('blind', isBlind ? 'nobody collects beats: the bridge may be down' : null)
      if (readAt === null || clock.now() - readAt.now > config.lateAfterMs) return // it looks, but reads no beats
      looks.add()
      health.trouble('look', null)
      life.round(statusLine(state))
    },
    onError: (error, failingMs) => {
      failures.add()
      const isExplained = (last?.observed.trouble ?? null) !== null
      health.trouble('store', isExplained ? null : storeTrouble(error, failingMs))
    },
    onWell: () => health.trouble('store', null),
    onAlertFailure: () => untold.add(),
    onAlertTrouble: (why) => health.trouble('alerts', why),
  })
  stack.defer(() => watching)
  await offerAlertTests(config, life)
  const isActive = askManager(config.evidence.env, clock, draining)
  const closing = closeUnitIncidents({ store, clock, log, signal: draining, state: config.state, isActive })
  stack.defer(() => closing.done)
}

/** Without it the watchdog does its work nevertheless. */
async function offerAlertTests(config: Config, { clock, log, draining, stack }: Life): Promise<void> {
  const channels = openChannels(config, clock, log)
  try {
    const test = () => testChannels(channels, { clock, signal: draining })
    stack.use(await serveAlertTests(alertSocket(config.state), test))
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    log.warn('alerts cannot be tested', { error })
  }
}

const VERDICT_GAUGES = [
  ['new', 'Agents that were never heard.'],
  ['alive', 'Agents that are alive.'],
  ['late', 'Agents that are late.'],
  ['silent', 'Agents that are silent.'],
  ['gone', 'Agents that are known to be dead.'],
] as const

/** What can be measured at any time; 0 before the first look. */
function addGauges(metrics: Life['health']['metrics'], last: () => WatchdogState | null): void {
  const gauge = (name: string, about: string, read: (state: WatchdogState) => number): void =>
    metrics.gauge(name, about, () => {
      const state = last()
      return state === null ? 0 : read(state)
    })
  for (const [verdict, about] of VERDICT_GAUGES) {
    gauge(`s2_watchdog_agents_${verdict}`, about, ({ observed }) => observed.fleet.counts[verdict])
  }
  gauge('s2_watchdog_sources_away', 'Supervisors that do not answer.', ({ observed }) => observed.unreachable.size)
  gauge('s2_watchdog_tasks_open', 'Tasks that have not ended.', ({ openTasks }) => openTasks)
  gauge('s2_watchdog_blind', '1 while nobody collects beats.', ({ observed }) => (observed.isBlind ? 1 : 0))
  const lag = 'The last verdict: passed so long after its deadline.'
  gauge('s2_watchdog_verdict_lag_seconds', lag, ({ observed }) => observed.verdictLagMs / 1000)
}

/** For example `9 agents: 8 alive, 1 silent; 3 tasks open`. */
export function statusLine({
  observed: { fleet, isBlind },
  openTasks,
}: {
  readonly observed: Pick<FleetObservation, 'isBlind'> & { readonly fleet: Pick<FleetLiveness, 'size' | 'counts'> }
  readonly openTasks: number
}): string {
  const counts = Object.entries(fleet.counts).filter(([, count]) => count > 0)
  const verdicts = counts.map(([verdict, count]) => `${count} ${verdict}`).join(', ')
  const agents = `${fleet.size} ${fleet.size === 1 ? 'agent' : 'agents'}`
  const open = `${openTasks} ${openTasks === 1 ? 'task' : 'tasks'} open`
  return `${isBlind ? 'blind; ' : ''}${agents}${verdicts === '' ? '' : `: ${verdicts}`}; ${open}`
}
