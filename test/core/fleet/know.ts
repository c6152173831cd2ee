import type { Agent } from '#fleet/conversation.ts'
import type { Roster } from '#fleet/failure-detector.ts'

/** Tells a roster who there is, all in one go. */
export function know(roster: Roster, agents: Iterable<Agent>, now: number): void {
  for (const _ of roster.learn(agents, () => now));
}
