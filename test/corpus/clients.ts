import { HEALTHY_CLIENTS } from './clients-healthy.ts'
import { STUCK_CLIENTS } from './clients-stuck.ts'
import { WAITING_CLIENTS } from './clients-waiting.ts'
import type { Situation } from './situation.ts'

/** Agents that people sit at: what their clients do, and what their daemons say of it. */
export const CLIENTS: readonly Situation[] = [...HEALTHY_CLIENTS, ...WAITING_CLIENTS, ...STUCK_CLIENTS]
