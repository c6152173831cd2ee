import type { AgentWords } from '../../services/worker/agent-words.ts'

/** Agents that say nothing of their tasks themselves. */
export const SILENT: AgentWords = {
  listen: async () => ({ said: () => null, [Symbol.asyncDispose]: async () => undefined }),
  left: async () => [],
  forget: async () => undefined,
}
