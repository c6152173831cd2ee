import { join } from 'node:path'
import { redact } from '#fleet/redact.ts'
import { watchesInForce } from '#runtime/folder-watch.ts'
import { runLean } from '#runtime/memory-tuning.ts'
import type { Life, Program } from '#runtime/run.ts'
import { type Config, readConfig } from './config.ts'
import type { MailSource, MailSourceEvents } from './unread-mail.ts'
import { wakeByCommand } from './wake-command.ts'
import { WakeProcesses } from './wake-processes.ts'
import { Waker } from './waker.ts'
import { Woken } from './woken.ts'

/** Hears of new messages and wakes the agent they are for: once per message, and never twice at a time. */
export const program: Program<Config> = {
  name: 'fs-watcher',
  about: 'Watches for mail and wakes the agent with a command when some has come.',
  redact,
  readConfig,
  start,
}

async function start(config: Config, life: Life): Promise<void> {
  runLean()
  const { clock, log, health, draining, stack } = life
  const wakeProcesses = new WakeProcesses(join(config.state, 'watcher', `${config.source}-running.json`))
  const left = await wakeProcesses.endLeftovers(clock)
  if (left > 0) log.warn('wakes that an earlier life of this program had left behind were ended', { groups: left })
  const woken = await Woken.open(join(config.state, 'watcher', `${config.source}.json`), (why) =>
    log.error('who was woken before is not known', { why }),
  )
  const figures = countFigures(life)

  let told = ''
  const tidings: MailSourceEvents = {
    onHint: (target) => {
      figures.hints.add()
      waker.hint(target)
    },
    onLook: () => {
      figures.looks.add()
      if (told !== '') log.info(`the ${config.source} can be looked at again`)
      told = ''
      health.trouble('source', null)
      life.round(`watches the ${config.source} by ${means()}; ${figures.wakes.value} wakes so far`)
    },
    onTrouble: (error) => {
      const why = error instanceof Error ? error.message : String(error)
      if (why !== told) log.warn(`the ${config.source} cannot be looked at; trying on`, { error })
      told = why
      health.trouble('source', why)
    },
  }
  health.trouble('source', 'not looked at yet')
  const source = await openSource(config, woken, tidings, life)
  const waker = new Waker({
    clock,
    chance: life.chance,
    log,
    signal: draining,
    source,
    woken,
    wake: wakeByCommand(config.wake, wakeProcesses, clock, log),
    onWake: (ended) => {
      figures.note(ended)
      health.trouble('wake', ended.error === null ? null : String(ended.error))
    },
  })
  const watching = source.watch()
  watching.catch((error: Error) => life.fail(error))
  stack.defer(async () => {
    await Promise.allSettled([watching, waker.idle()])
    await woken.save()
  })
}

async function openSource(config: Config, woken: Woken, tidings: MailSourceEvents, life: Life): Promise<MailSource> {
  const { clock, chance, log, draining: signal, stack } = life
  if (config.source === 'inbox') {
    const [{ InboxSource }, { Inbox }] = await Promise.all([import('./inbox-source.ts'), import('#spool/inbox.ts')])
    return new InboxSource({ ...tidings, clock, log, signal, inbox: new Inbox(config.state), ...config })
  }
  const [{ DatabaseSource }, { openStore }] = await Promise.all([
    import('./database-source.ts'),
    import('#store/open-store.ts'),
  ])
  const store = stack.use(await openStore(config.storeUrl, { clock, chance, log }, null, 'read'))
  return new DatabaseSource(config.wakeFor, { ...tidings, clock, chance, log, signal, store, woken })
}

/** By what changes are heard of, which is by polls alone where the system lets nobody watch. */
function means(): string {
  const found = new Set(watchesInForce().map((each) => each.means))
  return found.has('none') || found.size === 0 ? 'polls' : [...found].join(', ')
}

function countFigures({ health: { metrics } }: Life) {
  const hints = metrics.counter('s2_watcher_hints_total', 'Times that new mail was heard of, or thought possible.')
  const looks = metrics.counter('s2_watcher_looks_total', 'Looks at the whole source that were finished.')
  const wakes = metrics.counter('s2_watcher_wakes_total', 'Wake commands that worked.')
  const failures = metrics.counter('s2_watcher_wake_failures_total', 'Wake commands that failed.')
  let last = { waitedMs: 0, tookMs: 0 }
  metrics.gauge('s2_watcher_last_wake_wait_seconds', 'From the hint to the last wake.', () => last.waitedMs / 1000)
  metrics.gauge('s2_watcher_last_wake_seconds', 'How long the last wake command ran.', () => last.tookMs / 1000)
  metrics.gauge('s2_watcher_hears', '1 while the system tells of changes, 0 while only polls do.', () =>
    means() === 'polls' ? 0 : 1,
  )
  const note = (ended: { readonly error: unknown; readonly waitedMs: number; readonly tookMs: number }): void => {
    if (ended.error === null) wakes.add()
    else failures.add()
    last = ended
  }
  return { hints, looks, wakes, note }
}
