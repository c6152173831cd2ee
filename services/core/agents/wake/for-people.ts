import type { Clock } from '#runtime/clock.ts'
import { httpExchange } from '#runtime/http-exchange.ts'
import { readNamedFile } from '#runtime/read-user-file.ts'
import { hasSucceeded, howItEnded, runCommand } from '#runtime/run-command.ts'
import type { WakeAdapter } from './adapter.ts'

/** Ways that reach a person or a program of theirs, not the agent itself: what they lead to is proven by the mail that is taken. */

const ANSWER_MAX = 64_000

/** Posts the text as JSON to an address; only an answer of 2xx says that it was taken, and redirections are not followed. */
export function webhook(target: { readonly url: URL; readonly tokenFile: string | null } | null): WakeAdapter {
  return {
    rung: 'webhook',
    timeoutMs: 10_000,
    whyNot: async () => (target === null ? 'no address is set (S2_WAKE_WEBHOOK)' : null),
    wake: async (session, text, signal) => {
      if (target === null) throw new Error('no address is set')
      const { url, tokenFile } = target
      const bearer = tokenFile === null ? undefined : (await readNamedFile(tokenFile)).trim()
      const body = JSON.stringify({ text, client: session?.client ?? null, session: session?.session ?? null })
      const asked = {
        to: url,
        method: 'POST',
        body,
        contentType: 'application/json',
        answerMax: ANSWER_MAX,
        bearer,
      } as const
      const { status } = await httpExchange(asked, signal).catch((error: NodeJS.ErrnoException) => {
        // what else it says could show the address, which is a secret
        throw new Error(`the webhook was not reached: ${error.code ?? error.name}`)
      })
      if (status < 200 || status > 299) throw new Error(`the webhook did not take it: status ${status}`)
      return 'sent'
    },
  }
}

const OUTPUT_MAX = 4_000
const SCREENS = ['DISPLAY', 'WAYLAND_DISPLAY', 'DBUS_SESSION_BUS_ADDRESS']

/** Shows the text on the desktop of a person. */
export function desktop(clock: Clock, env: Readonly<Record<string, string | undefined>>): WakeAdapter {
  return {
    rung: 'desktop',
    timeoutMs: 5_000,
    whyNot: async () => (SCREENS.some((name) => (env[name] ?? '') !== '') ? null : 'no desktop is there'),
    wake: async (_session, text, signal) => {
      const argv = ['notify-send', '--app-name=S2', '--', 'S2', text] as const
      const bounds = { timeoutMs: 3_000, outputMax: OUTPUT_MAX, beyond: 'keep_tail' } as const
      const ending = await runCommand({ argv, env, ...bounds }, clock, signal)
      if (!hasSucceeded(ending)) throw new Error(`notify-send: ${howItEnded(ending)}`)
      return 'sent'
    },
  }
}
