import { ConfigError, type Env } from '#runtime/read-settings.ts'
import { type Command, commandLine } from '#runtime/run-command.ts'

/** Where a webhook goes, and the file that its bearer token stands in. */
export interface WebhookTarget {
  readonly url: URL
  readonly tokenFile: string | null
}

interface WebhookSettings {
  readonly S2_WAKE_WEBHOOK?: string | undefined
  readonly S2_WAKE_WEBHOOK_TOKEN_FILE?: string | undefined
}

/** Null where no address is set. Throws ConfigError for one that would show a secret to a network. */
export function webhookTarget({
  S2_WAKE_WEBHOOK: address,
  S2_WAKE_WEBHOOK_TOKEN_FILE: tokenFile,
}: WebhookSettings): WebhookTarget | null {
  if (address === undefined) return null
  const url = new URL(address)
  if (url.protocol === 'http:' && !/^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(url.hostname)) {
    throw new ConfigError([
      'S2_WAKE_WEBHOOK=… must be https, or http on this host; for example https://wake.example.org/s2',
    ])
  }
  return { url, tokenFile: tokenFile ?? null }
}

/** The words of S2_WAKE. Throws ConfigError. */
export function wakeLine(line: string): Command['argv'] {
  try {
    return commandLine(line)
  } catch (error) {
    throw new ConfigError([`S2_WAKE ${(error as Error).message}; for example S2_WAKE=["notify-send","mail"]`])
  }
}

/** What of our settings the command may have: where to ask for the mail. The others are ours, and some are secrets. */
const HANDED_ON = ['S2_STATE', 'S2_STORE']
/** What the service manager tells this program, and nobody else (sd_notify(3), sd_listen_fds(3)). */
const OWN = /^(S2_.*|NOTIFY_SOCKET|WATCHDOG_(USEC|PID)|LISTEN_(FDS|PID|FDNAMES))$/

/** The environment of what is run to wake. */
export function handedOn(env: Env): Env {
  return Object.fromEntries(Object.entries(env).filter(([name]) => HANDED_ON.includes(name) || !OWN.test(name)))
}
