import { afterGap, JsonError, type JsonNode, jsonValue, readJsonTree } from './json-spans.ts'

/** Changes of a JSON text that leave every other letter of it, comments and order as they are. All throw JsonError. */

/** The value at a path; undefined where there is none. */
export function valueAt(text: string, path: readonly string[]): unknown {
  const node = nodeAt(readIfAny(text), path)
  return node === undefined ? undefined : jsonValue(node)
}

/** Sets a value; objects that are missing on the way are made. */
export function withValue(text: string, path: readonly string[], value: unknown): string {
  const root = readIfAny(text)
  if (root === undefined) return `${JSON.stringify(nested(path, value), null, 2)}\n`
  const { node, rest } = deepest(root, path)
  const [key, ...deeper] = rest
  if (key === undefined) return replaced(text, node.start, node.end, formatted(text, node.start, value))
  if (isNull(node)) return replaced(text, node.start, node.end, formatted(text, node.start, nested(rest, value)))
  if (node.kind !== 'object') throw otherForm(node)
  const last = node.members.at(-1)?.value.end
  return inserted(text, node, last, (indent) => `${JSON.stringify(key)}: ${shown(text, indent, nested(deeper, value))}`)
}

/** Appends a value to the array at a path, which is made where it is missing. */
export function withItem(text: string, path: readonly string[], value: unknown): string {
  const root = readIfAny(text)
  const node = nodeAt(root, path)
  if (node === undefined || isNull(node)) return withValue(text, path, [value])
  if (node.kind !== 'array') throw otherForm(node)
  return inserted(text, node, node.items.at(-1)?.end, (indent) => shown(text, indent, value))
}

/** Puts a value in the place of the first item of an array that is meant; null where none is. */
export function withItemReplaced(
  text: string,
  path: readonly string[],
  isMeant: (item: unknown) => boolean,
  value: unknown,
): string | null {
  const node = nodeAt(readIfAny(text), path)
  const item = node?.kind === 'array' ? node.items.find((each) => isMeant(jsonValue(each))) : undefined
  return item === undefined ? null : replaced(text, item.start, item.end, formatted(text, item.start, value))
}

/** Removes the items of an array that are meant, then the array and the objects around it where nothing is left in them. */
export function withoutItems(text: string, path: readonly string[], isMeant: (item: unknown) => boolean): string {
  const node = nodeAt(readIfAny(text), path)
  if (node?.kind !== 'array') return text
  const index = node.items.findIndex((item) => isMeant(jsonValue(item)))
  if (index < 0) return text
  if (node.items.length === 1) return withoutMember(text, path)
  return withoutItems(withoutElement(text, node.items, index), path, isMeant)
}

/** Removes the value at a path, then the objects around it where nothing is left in them; the outermost stays. */
export function withoutMember(text: string, path: readonly string[]): string {
  const parent = nodeAt(readIfAny(text), path.slice(0, -1))
  if (parent?.kind !== 'object') return text
  const index = parent.members.findLastIndex(({ key }) => key === path.at(-1))
  if (index < 0) return text
  if (parent.members.length === 1 && path.length > 1) return withoutMember(text, path.slice(0, -1))
  const spans = parent.members.map(({ start, value }) => ({ start, end: value.end }))
  return withoutElement(text, spans, index)
}

function readIfAny(text: string): JsonNode | undefined {
  return text.trim() === '' ? undefined : readJsonTree(text)
}

/** Of members with one name the last one counts, as for every reader of JSON. */
function nodeAt(root: JsonNode | undefined, path: readonly string[]): JsonNode | undefined {
  if (root === undefined) return undefined
  const { node, rest } = deepest(root, path)
  return rest.length === 0 ? node : undefined
}

function deepest(root: JsonNode, path: readonly string[]): { node: JsonNode; rest: readonly string[] } {
  let node = root
  for (const [index, key] of path.entries()) {
    const next = node.kind === 'object' ? node.members.findLast((member) => member.key === key)?.value : undefined
    if (next === undefined) return { node, rest: path.slice(index) }
    node = next
  }
  return { node, rest: [] }
}

function isNull(node: JsonNode): boolean {
  return node.kind === 'plain' && node.value === null
}

/** What a person has there would be lost. */
function otherForm({ start }: JsonNode): JsonError {
  return new JsonError(start, 'holds something else than S2 can add to')
}

function nested(path: readonly string[], value: unknown): unknown {
  return path.reduceRight<unknown>((inner, key) => ({ [key]: inner }), value)
}

/** Puts something last into an object or array: behind the last one's end, or between brackets that hold nothing. */
function inserted(
  text: string,
  { start, end }: JsonNode,
  last: number | undefined,
  show: (indent: string) => string,
): string {
  const outer = indentAt(text, start)
  const indent = outer + indentUnit(text)
  const [head, tail] = isOneLine(text) ? ['', ''] : [`\n${indent}`, `\n${outer}`]
  if (last === undefined) {
    const inner = text.slice(start + 1, end - 1)
    const kept = inner.trim() === '' ? '' : inner.trimEnd()
    return replaced(text, start + 1, end - 1, `${kept}${head}${show(indent)}${tail}`)
  }
  const comma = afterGap(text, last)
  const hasComma = text[comma] === ','
  const at = afterRemark(text, hasComma ? comma + 1 : last)
  const more = replaced(text, at, at, `${head}${show(indent)}${hasComma ? ',' : ''}`)
  return hasComma ? more : replaced(more, last, last, ',')
}

/** A remark behind a value on its line stays with it. */
function afterRemark(text: string, at: number): number {
  REMARK.lastIndex = at
  return REMARK.test(text) ? REMARK.lastIndex : at
}

const REMARK = /[ \t]*(?:\/\/[^\n]*|\/\*[^\n]*?\*\/)/y

/** Takes an element out with one of the commas beside it, and the line that it alone stood on. */
function withoutElement(
  text: string,
  elements: readonly { readonly start: number; readonly end: number }[],
  index: number,
): string {
  const { start, end } = elements[index] ?? { start: 0, end: 0 }
  const before = elements[index - 1]
  if (before !== undefined) {
    const comma = afterGap(text, before.end)
    return replaced(replaced(text, start - gapBefore(text, start), end, ''), comma, comma + 1, '')
  }
  const comma = afterGap(text, end)
  const after = text[comma] === ',' ? comma + 1 : end
  return replaced(text, start - gapBefore(text, start), after, '')
}

/** How much white space stands before a place. */
function gapBefore(text: string, at: number): number {
  return at - text.slice(0, at).trimEnd().length
}

function replaced(text: string, start: number, end: number, by: string): string {
  return text.slice(0, start) + by + text.slice(end)
}

function formatted(text: string, at: number, value: unknown): string {
  return shown(text, indentAt(text, at), value)
}

/** A value as the file writes it: on one line where all is on one. */
function shown(text: string, indent: string, value: unknown): string {
  if (isOneLine(text)) return JSON.stringify(value)
  return JSON.stringify(value, null, indentUnit(text)).replaceAll('\n', `\n${indent}`)
}

function isOneLine(text: string): boolean {
  return text.trim().length > 2 && !text.trim().includes('\n')
}

/** White space at the beginning of the line that a place is in. */
function indentAt(text: string, at: number): string {
  const line = text.slice(text.lastIndexOf('\n', at - 1) + 1, at)
  return /^[ \t]*/.exec(line)?.[0] ?? ''
}

/** By what the file indents: as its first indented line. */
function indentUnit(text: string): string {
  return /\n([ \t]+)["[{]/.exec(text)?.[1] ?? '  '
}
