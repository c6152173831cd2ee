import type { Clock } from '#runtime/clock.ts'
import { hasSucceeded, howItEnded, runCommand } from '#runtime/run-command.ts'
import { forClient, type WakeAdapter } from './adapter.ts'
import { clientEnvironment } from './client-environment.ts'
import { codexHome, openDaemon, whyThreadNotHeld } from './codex-daemon.ts'

/** Begins a turn in the thread of a Codex session by its daemon. The answer names the turn that has begun, so it proves the reading. */
export function codexTurn(): WakeAdapter {
  return forClient({
    rung: 'app_server',
    timeoutMs: 5_000,
    whyNot: whyThreadNotHeld,
    wake: async (session, text, signal) => {
      using daemon = await openDaemon(codexHome(session) ?? '', signal)
      const input = [{ type: 'text', text }]
      const started = (await daemon.ask('turn/start', { threadId: session.id, input })) as { turn?: { id?: unknown } }
      return typeof started?.turn?.id === 'string' ? 'read' : 'sent'
    },
  })
}

const OUTPUT_MAX = 16_000

/**
 * Leaves a message in the queue of a thread, by the client's own command. Where no daemon holds the thread, the command says that it
 * did so and nothing follows: it is not tried then.
 */
export function codexQueue({ clock }: { readonly clock: Clock }): WakeAdapter {
  return forClient({
    rung: 'codex_queue',
    timeoutMs: 15_000,
    whyNot: whyThreadNotHeld,
    wake: async (session, text, signal) => {
      const client = clientEnvironment(session)
      if (client === null) throw new Error('the process of the session has ended')
      const argv = [client.program, 'queue', `--thread=${session.id}`, `--message=${text}`] as const
      const bounds = { timeoutMs: 10_000, outputMax: OUTPUT_MAX, beyond: 'keep_tail' } as const
      const ending = await runCommand({ argv, env: client.env, cwd: session.folder, ...bounds }, clock, signal)
      if (hasSucceeded(ending)) return 'sent'
      throw new Error(`codex queue: ${howItEnded(ending)}`, { cause: ending.stderr })
    },
  })
}
