import { type Node, parseSync } from 'oxc-parser'

/** A small mistake made in a program's text. */
export interface Mutant {
  /** The function that it lies in, or `(top)`. */
  readonly inside: string
  /** Counted from 1. */
  readonly line: number
  readonly start: number
  readonly end: number
  readonly from: string
  readonly to: string
}

const OTHERWISE: Readonly<Record<string, readonly string[]>> = {
  '===': ['!=='],
  '!==': ['==='],
  '<': ['<=', '>='],
  '<=': ['<', '>'],
  '>': ['>=', '<='],
  '>=': ['>', '<'],
  '+': ['-'],
  '-': ['+'],
  '*': ['/'],
  '/': ['*'],
  '%': ['*'],
}

const TYPES = /^(typeAnnotation|typeArguments|typeParameters|returnType|superTypeArguments)$/
/** Of what TypeScript adds, these hold expressions. */
const TYPED_EXPRESSIONS = ['TSAsExpression', 'TSNonNullExpression', 'TSSatisfiesExpression']
/** What is said to people is not what a mistake is looked for in. */
const SAYS = /\blog\.\w+\(|^super\(/

/** All mutants of a program: each is one mistake, as people make them. Throws where the text is no TypeScript. */
export function mutantsOf(path: string, source: string): Mutant[] {
  const { program, errors } = parseSync(path, source)
  const [error] = errors
  if (error !== undefined) throw new Error(`${path}: ${error.message}`)
  const found: Mutant[] = []
  const lines = new LineCount(source)
  const text = ({ start, end }: Node): string => source.slice(start, end)
  visit(program, '(top)', null, (node, inside, parent) => {
    for (const { at, to } of mistakesIn(node, parent, text)) {
      const from = text(at)
      if (from !== to) found.push({ inside, line: lines.of(at.start), start: at.start, end: at.end, from, to })
    }
  })
  return found
}

/** The text with the mistake. */
export function mutated(source: string, { start, end, to }: Mutant): string {
  return source.slice(0, start) + to + source.slice(end)
}

interface Mistake {
  readonly at: Node
  readonly to: string
}

type Text = (node: Node) => string

function mistakesIn(node: Node, parent: Node | null, text: Text): Mistake[] {
  switch (node.type) {
    case 'BinaryExpression':
      if (node.operator === '+' && /['"`]/.test(text(node))) return [] // texts are joined
      return (OTHERWISE[node.operator] ?? []).map((operator) => ({
        at: node,
        to: `${text(node.left)} ${operator} ${text(node.right)}`,
      }))
    case 'LogicalExpression':
      return [{ at: node, to: otherLogic(node.operator, text(node.left), text(node.right)) }]
    case 'IfStatement':
      return [negated(node.test, text), ...(node.alternate === null ? [{ at: node, to: ';' }] : [])]
    case 'ConditionalExpression':
      return [negated(node.test, text)]
    case 'ExpressionStatement':
      return isEffect(node.expression) && !SAYS.test(text(node).slice(0, 60)) ? [{ at: node, to: ';' }] : []
    case 'ArrayExpression':
      return withoutEach(node, text)
    case 'Literal':
      return otherValue(node, parent)
    case 'UnaryExpression':
      return node.operator === '!' ? [{ at: node, to: text(node.argument) }] : []
    case 'CallExpression':
      return otherExtreme(node.callee, text)
    default:
      return []
  }
}

function otherLogic(operator: string, left: string, right: string): string {
  if (operator === '??') return left
  return `${left} ${operator === '&&' ? '||' : '&&'} ${right}`
}

function negated(test: Node, text: Text): Mistake {
  return { at: test, to: `!(${text(test)})` }
}

function isEffect({ type }: Node): boolean {
  return ['CallExpression', 'AwaitExpression', 'AssignmentExpression'].includes(type)
}

const LIST_MAX = 12

function withoutEach(node: Extract<Node, { type: 'ArrayExpression' }>, text: Text): Mistake[] {
  if (node.elements.length > LIST_MAX) return []
  return node.elements.flatMap((element, index) => {
    if (element === null || element.type === 'SpreadElement') return []
    const others = node.elements.filter((_, other) => other !== index)
    return [{ at: node, to: `[${others.map((each) => (each === null ? '' : text(each))).join(', ')}]` }]
  })
}

/** Numbers count where something is compared with them or they are 0 or 1: a pace or a limit may as well be one more. */
function otherValue(node: Extract<Node, { type: 'Literal' }>, parent: Node | null): Mistake[] {
  if (typeof node.value === 'boolean') return [{ at: node, to: String(!node.value) }]
  if (typeof node.value !== 'number' || parent?.type === 'Property') return []
  const isCompared = parent?.type === 'BinaryExpression' && /^[=!<>]/.test(parent.operator)
  return isCompared || node.value === 0 || node.value === 1 ? [{ at: node, to: String(node.value + 1) }] : []
}

function otherExtreme(callee: Node, text: Text): Mistake[] {
  const other = { 'Math.min': 'Math.max', 'Math.max': 'Math.min' }[text(callee)]
  return other === undefined ? [] : [{ at: callee, to: other }]
}

type Visitor = (node: Node, inside: string, parent: Node | null) => void

/** Every node that is run, with the function that it lies in; types and imports are left out. */
function visit(value: unknown, inside: string, parent: Node | null, visitor: Visitor): void {
  if (Array.isArray(value)) {
    for (const each of value) visit(each, inside, parent, visitor)
    return
  }
  if (!isNode(value) || !isRun(value)) return
  const name = nameOf(value) ?? inside
  visitor(value, name, parent)
  for (const [key, child] of Object.entries(value)) if (!TYPES.test(key)) visit(child, name, value, visitor)
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && typeof (value as { type?: unknown }).type === 'string'
}

function isRun({ type }: Node): boolean {
  if (type === 'ImportDeclaration' || type === 'TemplateElement') return false
  return !type.startsWith('TS') || TYPED_EXPRESSIONS.includes(type)
}

function nameOf(node: Node): string | null {
  if (node.type === 'FunctionDeclaration') return node.id?.name ?? null
  if (node.type === 'MethodDefinition' && 'name' in node.key) return String(node.key.name)
  return null
}

class LineCount {
  readonly #starts: number[]

  constructor(source: string) {
    this.#starts = [0, ...[...source.matchAll(/\n/g)].map(({ index }) => index + 1)]
  }

  of(offset: number): number {
    return this.#starts.findLastIndex((start) => start <= offset) + 1
  }
}
