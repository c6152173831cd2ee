import type { AgentOptions } from '#agents/agent-options.ts'
import { systemZone } from '#runtime/wall-day.ts'
import { claudeDriver } from './claude.ts'
import type { ClientDriver } from './client-driver.ts'
import { codexDriver } from './codex.ts'
import type { S2Tools } from './s2-tools.ts'

/** The driver of a client. `tools`: those of S2 that it is given; `zone` is the one that it prints times in. */
export function clientDriver(
  { client, ...options }: AgentOptions,
  tools: S2Tools | null,
  zone = systemZone(),
): ClientDriver {
  return client === 'claude' ? claudeDriver(options, tools, zone) : codexDriver(options, tools, zone)
}
