import { join } from 'node:path'
import { readClientSessions } from '#agents/client-sessions-folder.ts'
import type { WakeAdapter } from '#agents/wake/adapter.ts'
import { wakeAdapters } from '#agents/wake/client-adapters.ts'
import { trialsFile, WakeMemory } from '#agents/wake/wake-memory.ts'
import type { Life } from '#runtime/run.ts'
import { HeldTasks } from '#spool/held-tasks.ts'
import { Outbox } from '#spool/outbox.ts'
import { isWorkedFor } from '#spool/session-lock.ts'
import { Climbs } from './climbs.ts'
import type { Config } from './config.ts'
import { ALL_ENDS_A, type MailSource } from './mail-source.ts'
import type { UntakenTasks } from './untaken-tasks.ts'
import { WakeActs } from './wake-acts.ts'
import type { UntakenParts } from './wake-untaken.ts'
import { WakeWaits } from './wake-waits.ts'
import type { Wake, WakeCall } from './waker.ts'

/** What the ladder of this host stands on. */
export async function openLadder(
  config: Config,
  command: Wake | null,
  source: MailSource,
  untaken: UntakenTasks,
  { clock, log, health }: Pick<Life, 'clock' | 'log' | 'health'>,
): Promise<UntakenParts> {
  const { state, env, wakeBy } = config
  const all = wakeAdapters({ clock, state, env, webhook: config.wakeWebhook })
  const adaptersFor = (call: WakeCall | null): WakeAdapter[] => {
    const known = command === null || call === null ? all : [...all, commandRung(command, call, config)]
    return (wakeBy ?? []).flatMap((rung) => known.find((each) => each.rung === rung) ?? [])
  }
  return {
    clock,
    log,
    source,
    memory: await WakeMemory.open(join(state, 'watcher', `${config.source}-wakes.json`)),
    trials: async () => await WakeMemory.open(trialsFile(state)),
    sessions: async () => await readClientSessions(state),
    isSole: (target) => target === ALL_ENDS_A,
    adapters: adaptersFor,
    held: new HeldTasks(state),
    untaken,
    isWorkedFor: async (session) => await isWorkedFor(state, session),
    waits: new WakeWaits({ log, health }),
    climbs: new Climbs(),
    acts: new WakeActs({ state, outbox: new Outbox(state) }),
  }
}

/** The command of S2_WAKE as a rung: that it worked proves no reading here. */
function commandRung(command: Wake, call: WakeCall, { wake }: Config): WakeAdapter {
  return {
    rung: 'exec',
    timeoutMs: wake?.timeoutMs ?? 0,
    whyNot: async () => null,
    wake: async (_session, _text, signal) => {
      await command(call, signal)
      return 'sent'
    },
  }
}
