/** An MCP server with one tool, which asks the person before the client whatever colour it is to be (elicitation). */
import { createInterface } from 'node:readline'

export const ASKING_SERVER = import.meta.filename

interface Incoming {
  readonly id?: number | string
  readonly method?: string
  readonly result?: unknown
}

const QUESTION = {
  message: 'Which colour is it to be?',
  requestedSchema: { type: 'object', properties: { colour: { type: 'string' } }, required: ['colour'] },
}
const ASKED = 'asked'
let called: Incoming['id']

function tell(message: object): void {
  process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`)
}

function answer({ id, method, result }: Incoming): void {
  const known = RESULTS[method ?? '']
  if (method === 'tools/call') {
    called = id
    tell({ id: ASKED, method: 'elicitation/create', params: QUESTION })
  } else if (id === ASKED) tell({ id: called, result: { content: [{ type: 'text', text: JSON.stringify(result) }] } })
  else if (known !== undefined) tell({ id, result: known })
  else if (id !== undefined) tell({ id, error: { code: -32601, message: 'no such method' } })
}

const RESULTS: Readonly<Record<string, object>> = {
  initialize: {
    protocolVersion: '2025-06-18',
    capabilities: { tools: {} },
    serverInfo: { name: 'asking', version: '1' },
  },
  'tools/list': {
    tools: [
      {
        name: 'ask',
        description: 'asks',
        inputSchema: { type: 'object' },
        _meta: { 'anthropic/alwaysLoad': true },
      },
    ],
  },
}

if (import.meta.main) createInterface(process.stdin).on('line', (line) => answer(JSON.parse(line) as Incoming))
