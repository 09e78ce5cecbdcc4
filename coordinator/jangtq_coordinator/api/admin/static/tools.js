// Two tools that run in this page, to show how the model calls some. Neither reaches anything outside.

const TOOLS = {
  calculate: {
    description: "Calculate an arithmetic expression.",
    properties: { expression: { type: "string", description: "The expression" } },
    run: ({ expression }) => ({ result: calculate(String(expression)) }),
  },
  get_time: {
    description: "Get the current time in a city.",
    properties: { city: { type: "string", description: "Name of the city" } },
    run: ({ city }) => timeIn(String(city)),
  },
};

export const offeredTools = () =>
  Object.entries(TOOLS).map(([name, { description, properties }]) => ({
    type: "function",
    function: { name, description, parameters: { type: "object", properties, required: Object.keys(properties) } },
  }));

export function runTool({ name, arguments: text }) {
  try {
    if (!TOOLS[name]) throw new Error(`there is no tool named ${name}`);
    return JSON.stringify(TOOLS[name].run(JSON.parse(text || "{}")));
  } catch (error) {
    return JSON.stringify({ error: error.message });
  }
}

// Precedence climbing over + - * / ^ and parentheses.
export function calculate(text) {
  const tokens = text.replaceAll("×", "*").replaceAll("÷", "/").replaceAll("**", "^").match(/\d+\.?\d*|\.\d+|\S/g) ?? [];
  const powers = { "+": 1, "-": 1, "*": 2, "/": 2, "^": 3 };
  const apply = { "+": (a, b) => a + b, "-": (a, b) => a - b, "*": (a, b) => a * b, "/": (a, b) => a / b, "^": (a, b) => a ** b };
  const atom = () => {
    const token = tokens.shift();
    if (token === "-") return -expression(3);
    if (token === "(") {
      const value = expression(1);
      if (tokens.shift() !== ")") throw new Error(`a parenthesis is open in ${text}`);
      return value;
    }
    if (!/^[\d.]/.test(token ?? "")) throw new Error(`${text} is no arithmetic expression`);
    return Number(token);
  };
  const expression = (least) => {
    let value = atom();
    while (powers[tokens[0]] >= least) {
      const sign = tokens.shift();
      value = apply[sign](value, expression(sign === "^" ? 3 : powers[sign] + 1));
    }
    return value;
  };
  const value = expression(1);
  if (tokens.length) throw new Error(`${text} is no arithmetic expression`);
  return Number(value.toPrecision(15));
}

function timeIn(city) {
  const wanted = city.trim().toLowerCase().replaceAll(" ", "_");
  const zone = Intl.supportedValuesOf("timeZone").find((name) => name.toLowerCase().split("/").pop() === wanted);
  if (!zone) throw new Error(`the time zone of ${city} is not known here`);
  return { city, time: new Date().toLocaleTimeString("en-GB", { timeZone: zone, hour: "2-digit", minute: "2-digit" }) };
}
