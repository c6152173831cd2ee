import { ALIVE_MS, SAID_STATUSES, type SaidStatus } from '#fleet/said-status.ts'
import type { PartnerStatus } from '#member/member.ts'
import { inputOf, SPEAKER_FIELDS, speakerIn, type Tool, textIn } from './tool.ts'

export const FLEET_TOOLS: readonly Tool[] = [
  {
    name: 'list_agents',
    title: 'List agents',
    description: 'Lists the agents that you may speak to, with their roles and whether they are alive.',
    inputSchema: inputOf({ ...SPEAKER_FIELDS }),
    effect: 'reads',
    isRepeatable: true,
    async call(member, input) {
      const agents = await member.agents(speakerIn(input))
      return {
        agents: agents.map(({ agent, role, leads, verdict }) => ({
          ...{ agent, role, status: verdict ?? 'unknown' },
          ...(leads ? { gives_work: true } : {}),
        })),
      }
    },
  },
  {
    name: 'check_partner_status',
    title: 'See how the partner is',
    description:
      'Says what the other end of your conversation does, as it said itself, how many seconds ago it was heard last, and whether it is alive.',
    inputSchema: inputOf({ ...SPEAKER_FIELDS }),
    effect: 'reads',
    isRepeatable: true,
    async call(member, input) {
      return partnerFields(await member.partner(speakerIn(input)))
    },
  },
  {
    name: 'update_my_status',
    title: 'Say what you are doing',
    description:
      'Says that you are working, waiting, blocked or complete: your partner sees it by check_partner_status. What it is to hear at once is said ' +
      'by send_to_partner; what becomes of a task by report_progress, complete_task and fail_task.',
    inputSchema: inputOf(
      { status: { type: 'string', enum: SAID_STATUSES, description: 'What you are.' }, ...SPEAKER_FIELDS },
      ['status'],
    ),
    effect: 'adds',
    isRepeatable: true,
    async call(member, input) {
      const status = textIn(input, 'status') as SaidStatus
      await member.say(speakerIn(input), status)
      return { status }
    },
  },
  {
    name: 'create_conversation',
    title: 'Open a conversation',
    description:
      'Opens a conversation with a partner that is yet to come. Only where the orchestrator runs; hosts of workers are joined by `s2 worker invite`. ' +
      'The answer alone carries the tokens: give session b and its token to the partner.',
    inputSchema: inputOf(
      {
        my_role: { type: 'string', minLength: 1, maxLength: 200, description: 'Your role.' },
        partner_role: { type: 'string', minLength: 1, maxLength: 200, description: 'Role of the partner.' },
      },
      ['my_role', 'partner_role'],
    ),
    effect: 'adds',
    isRepeatable: false,
    async call(member, input) {
      const roles = { a: textIn(input, 'my_role') ?? '', b: textIn(input, 'partner_role') ?? '' }
      const { conversation, tokens, expiresAt } = await member.openConversation(roles)
      return {
        conversation_id: conversation,
        session_a: { session_id: 'a', role: roles.a, token: tokens.a },
        session_b: { session_id: 'b', role: roles.b, token: tokens.b },
        expires_at: new Date(expiresAt).toISOString(),
      }
    },
  },
]

/** The fields of the Python bridge, and what the fleet knows besides. */
function partnerFields({ session, agent, role, said, verdict, why }: PartnerStatus): object {
  const known = said === null ? {} : { age: Math.round(said.agoMs / 1000) }
  return {
    status: said?.status ?? 'unknown',
    alive: said !== null && said.agoMs < ALIVE_MS,
    ...known,
    partner: { session, agent, role, verdict: verdict ?? 'unknown', ...(why === null ? {} : { why }) },
  }
}
