import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { redact } from '#fleet/redact.ts'
import { boundedWait } from '#runtime/bounded-wait.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { type Command, hasSucceeded, howItEnded, runCommand } from '#runtime/run-command.ts'
import { alertContent, type Notice } from './alert-text.ts'
import type { WatchConfig } from './config.ts'

/** A way to tell people of an incident. */
export interface AlertChannel {
  readonly name: string
  /** Tells one notice; rejects when it was not taken. Bounded in time, and ends early when the signal aborts. */
  tell(notice: Notice, signal: AbortSignal): Promise<void>
}

/** How long one alert may take to be told. */
export const TELL_TIMEOUT_MS = 10_000
const STDERR_MAX = 2_000

/** The channels that are configured; the log is always one. */
export function openChannels(config: WatchConfig, clock: Clock, log: Log): AlertChannel[] {
  const { alertExec, alertWebhook } = config
  return [
    logChannel(log),
    ...(alertExec === null ? [] : [execChannel(alertExec, clock)]),
    ...(alertWebhook === null ? [] : [webhookChannel(alertWebhook, clock)]),
  ]
}

export function logChannel(log: Log): AlertChannel {
  return {
    name: 'log',
    tell: async (notice) => {
      const { event, ...fields } = alertContent(notice)
      if (event === 'opened') log.error('incident opened', fields)
      else if (event === 'lasting') log.error('incident lasts', fields)
      else if (event === 'closed') log.info('incident closed', fields)
      else log.warn('alert tested', fields)
    },
  }
}

/** Runs a command with the alert as JSON on its standard input; exit code 0 says that it was taken. */
export function execChannel({ argv, env }: Pick<Command, 'argv' | 'env'>, clock: Clock): AlertChannel {
  return {
    name: 'exec',
    tell: async (notice, signal) => {
      const input = `${JSON.stringify(alertContent(notice))}\n`
      const bounds = { timeoutMs: TELL_TIMEOUT_MS, outputMax: STDERR_MAX, beyond: 'keep_tail' } as const
      const ending = await runCommand({ argv, env, input, ...bounds }, clock, signal).catch((cause: Error) => {
        throw new Error(`the alert command cannot be started: ${cause.message}; see S2_ALERT_EXEC`, { cause })
      })
      if (hasSucceeded(ending)) return
      throw new Error(`the alert command did not take it: ${howItEnded(ending)}`, { cause: redact(ending.stderr) })
    },
  }
}

/** Posts the alert as JSON; only an answer of 2xx says that it was taken, and redirections are not followed. */
export function webhookChannel(url: URL, clock: Clock): AlertChannel {
  return {
    name: 'webhook',
    tell: async (notice, signal) => {
      const { text, ...fields } = alertContent(notice)
      const body = JSON.stringify({ text: forChat(String(text)), ...fields })
      const status = await boundedWait((over) => post(url, body, over), TELL_TIMEOUT_MS, clock, signal)
      if (status < 200 || status > 299) throw new Error(`the webhook did not take it: status ${status}`)
    },
  }
}

/** Answers the status. Errors carry a code only: what else they say could show the address, which is a secret. */
function post(url: URL, body: string, signal: AbortSignal): Promise<number> {
  const request = url.protocol === 'https:' ? httpsRequest : httpRequest
  return new Promise((resolve, reject) => {
    const refuse = (error: NodeJS.ErrnoException): void =>
      reject(new Error(`the webhook was not reached: ${error.code ?? error.name}`))
    const headers = {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      'user-agent': 's2',
    }
    const posting = request(url, { method: 'POST', headers, agent: false, signal }, (response) => {
      response.on('error', () => undefined)
      resolve(response.statusCode ?? 0)
      response.destroy() // what it has to say besides is not read
    })
    posting.on('error', refuse)
    posting.end(body)
  })
}

/**
 * A text for chat services, which read more than words in it: `<!channel>`, `<@U1>` and links are written in angle brackets, and
 * `@here` calls everybody. Brackets and ampersands are escaped as those services ask for, and an `@` calls nobody.
 */
function forChat(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replace(/@(?=[\w<])/g, '(at)')
}
