import type { AgentOptions } from '#agents/agent-options.ts'
import { systemZone } from '#agents/retry-time.ts'
import { claudeDriver } from './claude.ts'
import type { ClientDriver } from './client-driver.ts'
import { codexDriver } from './codex.ts'

/** The driver of a client. `zone` is the one that it prints times in. */
export function clientDriver({ client, ...options }: AgentOptions, zone = systemZone()): ClientDriver {
  return client === 'claude' ? claudeDriver(options, zone) : codexDriver(options, zone)
}
