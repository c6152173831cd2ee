import type { AgentLiveness } from '#fleet/agent-liveness-record.ts'
import { ANY_ROLE } from '#fleet/task.ts'
import type { Worker } from '#fleet/worker.ts'
import { closest } from '#runtime/read-settings.ts'
import type { WatchConfig } from './config.ts'

type NamingSettings = Pick<WatchConfig, 'onStall' | 'fallback'>

/** Whether there is anything to look for. */
export function namesAnybody({ onStall, fallback }: NamingSettings): boolean {
  return onStall.byName.size + fallback.size > 0
}

/**
 * The names in settings that no agent and no role of the fleet has, in words: a slip of the pen passes every check, and what it
 * says never applies. Workers that are invited and have not joined belong to the fleet.
 */
export function misnamedSettings(
  { onStall, fallback }: NamingSettings,
  agents: Iterable<Pick<AgentLiveness, 'agent' | 'role'>>,
  invited: readonly Pick<Worker, 'agent' | 'role' | 'revokedAt'>[],
): string[] {
  const members = [...agents, ...invited.filter(({ revokedAt }) => revokedAt === null)]
  const roles = new Set(members.map(({ role }) => role))
  const all = new Set([...roles, ...members.map(({ agent }) => agent)])
  const substitutes = [...fallback].flat(2).filter((role) => role !== ANY_ROLE)
  return [
    ...strangers('S2_ON_STALL', [...onStall.byName.keys()], all, 'agent or role'),
    ...strangers('S2_FALLBACK', substitutes, roles, 'role'),
  ]
}

function strangers(setting: string, names: readonly string[], known: ReadonlySet<string>, what: string): string[] {
  return [...new Set(names)]
    .filter((name) => !known.has(name))
    .map((name) => {
      const near = closest(name, [...known])
      return `${setting} names ${name}, and no ${what} is called so${near === undefined ? '' : `; did you mean ${near}?`}`
    })
}
