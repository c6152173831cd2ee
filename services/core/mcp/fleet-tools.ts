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
    description: 'Says whether the other end of your conversation is alive, as far as the fleet knows.',
    inputSchema: inputOf({ ...SPEAKER_FIELDS }),
    effect: 'reads',
    isRepeatable: true,
    async call(member, input) {
      const { session, agent, role, verdict, why } = await member.partner(speakerIn(input))
      return { partner: { session, agent, role, status: verdict ?? 'unknown', ...(why === null ? {} : { why }) } }
    },
  },
  {
    name: 'update_my_status',
    title: 'Say what you are doing',
    description:
      'Tells your partner that you are working, waiting, blocked or complete: it comes to it as a message. What becomes of a task is said by ' +
      'report_progress, complete_task and fail_task.',
    inputSchema: inputOf(
      {
        status: { type: 'string', enum: ['working', 'waiting', 'blocked', 'complete'], description: 'What you are.' },
        ...SPEAKER_FIELDS,
      },
      ['status'],
    ),
    effect: 'adds',
    isRepeatable: false,
    async call(member, input) {
      const status = textIn(input, 'status') ?? ''
      const draft = { text: `My status is now: ${status}`, action: 'status_update' }
      const { state, to, why } = await member.sendToPartner(speakerIn(input), draft)
      return { status, told: to, state, ...(why === null ? {} : { note: why }) }
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
